//! Finds a text in anything, however it was written down.

use std::collections::{BTreeMap, BTreeSet};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// As many bytes in a row are a hit: less than a whole canary, so that one that was cut is found too.
const WINDOW: usize = 12;

type Window = [u8; WINDOW];

/// What is looked for.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    windows: BTreeMap<Window, usize>,
    /// First two bytes of them, which decide for nearly all places.
    begins: BTreeSet<[u8; 2]>,
    names: Vec<String>,
}

impl Canaries {
    /// One more, of at least [`WINDOW`] bytes.
    pub(super) fn plant(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        assert!(value.len() >= WINDOW, "{name} is too short to be found");
        for form in forms(value) {
            for window in form.windows(WINDOW) {
                let window: Window = window.try_into().expect("a window");
                self.begins.insert([window[0], window[1]]);
                self.windows.entry(window).or_insert(self.names.len());
            }
        }
        self.names.push(name.to_owned());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Which of them stand in that, each with what stands around the first place.
    pub(super) fn found_in(&self, data: &[u8]) -> Vec<(&str, String)> {
        let mut found = BTreeMap::new();
        for (at, window) in data.windows(WINDOW).enumerate() {
            if !self.begins.contains(&[window[0], window[1]]) {
                continue;
            }
            let window: &Window = window.try_into().expect("a window");
            if let Some(number) = self.windows.get(window) {
                found.entry(*number).or_insert(at);
            }
        }
        let around = |at: usize| String::from_utf8_lossy(&data[at.saturating_sub(60)..(at + 60).min(data.len())]).into_owned();
        found.into_iter().map(|(number, at)| (self.names[number].as_str(), around(at))).collect()
    }
}

/// The value, backwards, in hex, and in base64 wherever in a longer text it begins. What escapes letters (percent, JSON) leaves letters and digits alone.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let hex = hex(value);
    let backwards: Vec<u8> = value.iter().rev().copied().collect();
    let mut forms = vec![value.to_vec(), backwards, hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3_usize {
        let shifted = [vec![0; before], value.to_vec()].concat();
        // Letters that depend on what stands before and after are none of its own.
        let (own, end) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        for text in [BASE64_STANDARD_NO_PAD.encode(&shifted), BASE64_URL_SAFE_NO_PAD.encode(&shifted)] {
            forms.push(text.as_bytes()[own..end].to_vec());
        }
    }
    forms
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn a_canary_is_found_in_every_form_and_nothing_else_is() {
    let secret = "Cnry/7fK2+pQ9sLm4xT";
    let mut canaries = Canaries::default();
    canaries.plant("another", "something else entirely");
    canaries.plant("secret", secret);
    let hex = hex(secret.as_bytes()).to_uppercase();
    let backwards: String = secret.chars().rev().collect();
    for text in [secret, &secret[3..17], &hex, &hex.to_lowercase(), &backwards] {
        let found = canaries.found_in(format!("before {text} after").as_bytes());
        assert!(matches!(found[..], [("secret", _)]), "{text}: {found:?}");
    }
    for before in ["", "x", "xy", "xyz", "user:pass:"] {
        for after in ["", "-", "--", "---"] {
            let text = format!("{before}{secret}{after}");
            for text in [BASE64_STANDARD_NO_PAD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
                let found = canaries.found_in(format!("Basic {text}==").as_bytes());
                assert!(matches!(found[..], [("secret", _)]), "{text}: {found:?}");
            }
        }
    }
    for innocent in ["", "Cnry", "before after", "7fK2pQ9sLm4", "c29tZXRoaW"] {
        assert_eq!(canaries.found_in(innocent.as_bytes()), [], "{innocent}");
    }
}
