//! Hash slots: which of a cluster's 16,384 a key lies in.

use redis::{Arg, Cmd};

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM of each byte.
const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte: u16 = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte << 8, 0);
        while bit < 8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
}

/// The slot of a key: of what is between its first braces, or of all of it.
pub(super) fn of_key(key: &[u8]) -> u16 {
    let sum = tag(key).iter().fold(0_u16, |sum, byte| (sum << 8) ^ TABLE[usize::from((sum >> 8) ^ u16::from(*byte))]);
    sum % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else { return key };
    let inside = &key[open + 1..];
    match inside.iter().position(|byte| *byte == b'}') {
        Some(1..) => inside.split(|byte| *byte == b'}').next().unwrap_or(key),
        _ => key,
    }
}

/// The slot of a command's first key, which is its first argument in all that we use. A channel is taken for a key: who listens to it and who
/// sends to it go to the same server. `None`: it has no key.
pub(super) fn of_command(command: &Cmd) -> Option<u16> {
    let mut words = command.args_iter();
    let (Some(Arg::Simple(name)), Some(Arg::Simple(first))) = (words.next(), words.next()) else { return None };
    let is_keyless = [&b"PING"[..], b"CONFIG", b"PUBSUB", b"CLUSTER", b"INFO"].contains(&name);
    (!is_keyless).then(|| of_key(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(of_key(b"123456789"), 0x31C3);
        assert_eq!(of_key(b"foo"), 12_182);
        assert_eq!(of_key(b"bar"), 5_061);
        assert_eq!(of_key(b"a:{foo}:b}"), 12_182);
        assert_eq!(of_key(b"{}foo"), of_key(b"{}foo"));
        assert_ne!(of_key(b"{}foo"), of_key(b"{}bar"), "nothing between braces is no tag");
    }

    #[test]
    fn commands_go_where_their_first_key_is() {
        assert_eq!(of_command(redis::cmd("GET").arg("foo")), Some(12_182));
        assert_eq!(of_command(redis::cmd("PUBLISH").arg("foo").arg("x")), Some(12_182));
        assert_eq!(of_command(redis::cmd("CONFIG").arg("GET").arg("foo")), None);
        assert_eq!(of_command(&redis::cmd("PING")), None);
    }
}
