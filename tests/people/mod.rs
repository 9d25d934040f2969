mod account;
pub(crate) mod second_factor;
pub(crate) mod sso;
