mod account;
mod second_factor;
mod sso;
