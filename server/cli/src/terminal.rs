//! Words for a person on standard output; everything else is a log line. A closed pipe is no reason to fail.

use std::io::Write as _;

/// Writes a line.
pub(crate) fn say(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
}

/// Writes a line about a failure.
pub(crate) fn complain(text: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
}
