//! An authenticator app, written from the specification again: it must agree with the product, not share its code.

use hmac::Mac as _;

/// The app with one secret.
pub(crate) struct Authenticator(Vec<u8>);

impl Authenticator {
    /// With the secret as the page shows it.
    pub(crate) fn new(text: &str) -> Self {
        let digit = |c: char| "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(c).expect("base 32");
        let digits: Vec<String> = text.chars().filter(|c| !c.is_whitespace()).map(|c| format!("{:05b}", digit(c))).collect();
        let bits = digits.concat();
        let bytes = bits.as_bytes().chunks_exact(8).map(|byte| std::str::from_utf8(byte).expect("bits"));
        Self(bytes.map(|byte| u8::from_str_radix(byte, 2).expect("a byte")).collect())
    }

    /// The code of that moment.
    pub(crate) fn code(&self, at: chrono::DateTime<chrono::Utc>) -> String {
        let counter = (at.timestamp() / 30).to_be_bytes();
        let mut mac = <hmac::Hmac<sha1::Sha1> as hmac::KeyInit>::new_from_slice(&self.0).expect("a key");
        mac.update(&counter);
        let digest = mac.finalize().into_bytes();
        let at = usize::from(digest[19] & 0xf);
        let four: [u8; 4] = digest[at..at + 4].try_into().expect("four bytes");
        format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
    }
}
