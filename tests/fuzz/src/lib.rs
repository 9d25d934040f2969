//! Fuzz targets for what reads bytes of strangers: functions of bytes that panic when a promise is broken. `README.md` says how to run them.
#![expect(clippy::missing_panics_doc, reason = "to panic is how a target tells")]

pub mod era;
pub mod events;
pub mod headers;
pub mod message;
pub mod mirrored;
pub mod object;
pub mod openapi_build;

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("era", era::target),
    ("events", events::target),
    ("headers", headers::target),
    ("message", message::target),
    ("mirrored", mirrored::target),
    ("object", object::target),
    ("openapi_build", openapi_build::target),
];
