//! Lines of standard input and output, on threads of their own: the runtime need not wait for a read that never returns.

use std::{
    io::{BufRead, Write as _},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Longest line that is read.
pub(super) const MAX_LINE: usize = 4 * 1024 * 1024;
/// Lines that wait to be taken, or to be written.
const WAITING: usize = 16;
/// How long a client may take for the last lines.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

/// A line, or what is left of one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// More than `MAX_LINE`; thrown away.
    TooLong,
}

/// Lines of standard input, until it ends.
pub(super) fn input() -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        while let Ok(Some(line)) = read(&mut stdin, MAX_LINE) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The next line; `None` at the end.
fn read(reader: &mut impl BufRead, most: usize) -> std::io::Result<Option<Line>> {
    let (mut line, mut is_there, mut is_too_long) = (Vec::new(), false, false);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            break;
        }
        is_there = true;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        is_too_long |= line.len() + piece.len() > most;
        if is_too_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(piece);
        }
        let taken = piece.len() + usize::from(end.is_some());
        reader.consume(taken);
        if end.is_some() {
            break;
        }
    }
    Ok(match (is_there, is_too_long) {
        (false, _) => None,
        (true, true) => Some(Line::TooLong),
        (true, false) => Some(Line::Whole(line)),
    })
}

/// Standard output, one message a line. Waits when the client does not read.
#[derive(Debug, Clone)]
pub(super) struct Output {
    lines: mpsc::Sender<String>,
    gone: CancellationToken,
}

/// Its other end.
#[derive(Debug)]
pub(super) struct Written(oneshot::Receiver<()>);

impl Output {
    /// Opens it.
    pub(super) fn open() -> (Self, Written) {
        let (sender, mut lines) = mpsc::channel::<String>(WAITING);
        let (finished, written) = oneshot::channel();
        let gone = CancellationToken::new();
        let its_gone = gone.clone();
        std::thread::spawn(move || {
            let mut stdout = std::io::stdout().lock();
            while let Some(line) = lines.blocking_recv() {
                if writeln!(stdout, "{line}").and_then(|()| stdout.flush()).is_err() {
                    break;
                }
            }
            its_gone.cancel();
            let _ = finished.send(());
        });
        (Self { lines: sender, gone }, Written(written))
    }

    /// Writes a message. Line ends in it are layout, since JSON has none in texts; they become spaces.
    pub(super) async fn message(&self, message: &str) {
        // Nobody is there to be told when nobody reads: `gone` ends the program.
        let _ = self.lines.send(message.replace(['\n', '\r'], " ")).await;
    }

    /// Resolves when nobody reads any more.
    pub(super) async fn gone(&self) {
        self.gone.cancelled().await;
    }
}

impl Written {
    /// Waits until everything is written, but not for a client that does not read.
    pub(super) async fn finish(self, output: Output) {
        drop(output);
        let _ = tokio::time::timeout(LAST_WORDS_WITHIN, self.0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn lines_are_read_whatever_the_pieces_and_long_ones_are_skipped() {
        let text = b"abc\n\n123456\n12345\r\nend";
        for piece in [1, 2, 4, 100] {
            let mut reader = BufReader::with_capacity(piece, &text[..]);
            let mut lines = Vec::new();
            while let Some(line) = read(&mut reader, 6).unwrap() {
                lines.push(line);
            }
            let whole = |text: &str| Line::Whole(text.into());
            assert_eq!(lines, [whole("abc"), whole(""), whole("123456"), whole("12345\r"), whole("end")], "{piece}");
            let mut reader = BufReader::with_capacity(piece, &text[..]);
            let lines: Vec<_> = std::iter::from_fn(|| read(&mut reader, 5).unwrap()).collect();
            assert_eq!(lines, [whole("abc"), whole(""), Line::TooLong, Line::TooLong, whole("end")], "{piece}");
        }
    }
}
