//! A real browser: from the sign-up to the first call on the chart.

mod first_call;
mod window;
