//! The decoder of event streams.

use trunkline_protocol::mcp::event_stream::{Decoder, Event, TooLong};

/// Longest event of this target: short, so that the bound is met.
const MOST: usize = 256;

/// Input: a byte that cuts, and a stream. Pieces make no difference; what is decoded can be encoded again.
pub fn target(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = decode(stream, stream.len().max(1), MOST);
    for size in [1, 2, 3, usize::from(*cut).max(1)] {
        let pieces = decode(stream, size, MOST);
        assert_eq!(pieces.1, whole.1, "in pieces of {size}");
        // At the bound, how much came before depends on the pieces.
        if whole.1.is_ok() {
            assert_eq!(pieces.0, whole.0, "in pieces of {size}");
        }
    }
    for event in whole.0 {
        assert!(event.data.len() <= MOST * 4, "an event beyond its bound");
        assert_eq!(decode(event.encode().as_bytes(), 5, usize::MAX), (vec![event.clone()], Ok(())));
    }
}

fn decode(stream: &[u8], size: usize, most: usize) -> (Vec<Event>, Result<(), TooLong>) {
    let mut decoder = Decoder::new(most);
    let mut events = Vec::new();
    for piece in stream.chunks(size) {
        match decoder.push(piece) {
            Ok(more) => events.extend(more),
            Err(too_long) => return (events, Err(too_long)),
        }
    }
    (events, Ok(()))
}
