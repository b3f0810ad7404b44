//! Progress bars: on a terminal only, on standard error only.
//!
//! Called by the subcommands that read whole files or trade for a while.
//!
//! Always holds: output that is redirected stays free of bars; a bar never fails its command.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a bar is drawn, at most, each second.
const DRAWS_A_SECOND: u8 = 10;

/// A bar over `total` bytes, or nothing where standard error is no terminal.
#[must_use]
pub fn byte_bar(total: u64, doing: &'static str) -> ProgressBar {
    bar(
        total,
        doing,
        "{prefix} [{bar:40}] {bytes}/{total_bytes} {msg} {eta}",
    )
}

/// A bar over `total` things, or nothing where standard error is no terminal.
#[must_use]
pub fn count_bar(total: u64, doing: &'static str) -> ProgressBar {
    bar(total, doing, "{prefix} [{bar:40}] {pos}/{len} {msg} {eta}")
}

fn bar(total: u64, doing: &'static str, form: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(DRAWS_A_SECOND);
    let bar = ProgressBar::with_draw_target(Some(total), target).with_prefix(doing);
    match ProgressStyle::with_template(form) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
