//! Server-sent events: encoding ours, decoding an upstream's, piece by piece and with a bound.

use std::fmt::Write as _;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Where a client resumes after it.
    pub id: Option<String>,
    /// `event`; absent means `message`.
    pub name: Option<String>,
    /// Its lines, joined.
    pub data: String,
    /// When to connect again, in milliseconds.
    pub retry_ms: Option<u64>,
}

impl Event {
    /// As it goes over the wire. Data and id must not contain line breaks; JSON without layout has none.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(self.data.len() + 48);
        if let Some(retry_ms) = self.retry_ms {
            let _ = writeln!(text, "retry: {retry_ms}");
        }
        if let Some(id) = &self.id {
            let _ = writeln!(text, "id: {id}");
        }
        if let Some(name) = &self.name {
            let _ = writeln!(text, "event: {name}");
        }
        for line in self.data.split('\n') {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text
    }
}

/// An event, or a line of it, is longer than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than allowed")]
pub struct TooLong;

/// Turns bytes into events.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact about what was read last")]
pub struct Decoder {
    most_bytes: usize,
    line: Vec<u8>,
    after_return: bool,
    at_start: bool,
    event: Event,
    has_data: bool,
    has_anything: bool,
}

impl Decoder {
    /// A decoder for one stream; no event may have more than `most_bytes`.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            line: Vec::new(),
            after_return: false,
            at_start: true,
            event: Event::default(),
            has_data: false,
            has_anything: false,
        }
    }

    /// Takes the next bytes and gives the events that they complete. Events without data but with an id or a retry are given too.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let ends_return = std::mem::take(&mut self.after_return);
            match byte {
                // CR LF is one line end.
                b'\n' if ends_return => {}
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    if let Some(event) = self.end_line() {
                        events.push(event);
                    }
                }
                _ => {
                    if self.line.len() + self.event.data.len() >= self.most_bytes {
                        return Err(TooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = if std::mem::take(&mut self.at_start) { line.trim_start_matches('\u{feff}') } else { &line };
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => self.event.name = Some(value.to_owned()),
            "id" if !value.contains('\0') => self.event.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => self.event.retry_ms = value.parse().ok(),
            _ => return None,
        }
        self.has_anything = true;
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        self.has_data = false;
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_anything).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str, piece: usize) -> Vec<Event> {
        let mut decoder = Decoder::new(1_000);
        text.as_bytes().chunks(piece).flat_map(|bytes| decoder.push(bytes).expect("short")).collect()
    }

    #[test]
    fn events_are_read_whatever_the_pieces() {
        let text = "\u{feff}: hello\r\nid: 7\r\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\nretry: 250\nid: 8\ndata:\n\ndata: cut";
        for piece in [1, 2, 3, 7, 1_000] {
            let events = decode(text, piece);
            assert_eq!(events.len(), 2, "{piece}: {events:?}");
            assert_eq!(events[0].data, "{\"a\":\n1}");
            assert_eq!(events[0].id.as_deref(), Some("7"));
            assert_eq!((events[1].retry_ms, events[1].id.as_deref(), events[1].data.as_str()), (Some(250), Some("8"), ""));
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let event =
            Event { id: Some("a-1".into()), name: Some("message".into()), data: "{\"x\":\"é\"}".into(), retry_ms: Some(5) };
        assert_eq!(decode(&event.encode(), 3), [event]);
    }

    #[test]
    fn endless_events_are_refused() {
        let mut decoder = Decoder::new(100);
        assert_eq!(decoder.push(&[b'x'; 101]), Err(TooLong));
        let mut decoder = Decoder::new(100);
        let line = [&b"data: "[..], &[b'x'; 60], b"\n"].concat();
        assert_eq!(decoder.push(&line), Ok(vec![]));
        assert_eq!(decoder.push(&line), Err(TooLong));
    }
}
