//! What programs cost in Whelk, beside Linux guests on the same QEMU and beside this host; and where the instructions go.
//!
//! * [`measure()`] runs the programs of `tests/bench`, suite by suite ([`SUITES`]), and gives [`Results`].
//! * [`render`] and [`plot()`] show them; [`Baseline`] keeps them from getting worse.
//! * [`profile()`] counts a case's instructions by function.

mod app;
mod boot;
mod guest;
mod line;
mod linux;
mod measure;
mod plot;
mod profile;
mod programs;
mod results;
mod rival;
mod server;
mod stats;
mod suite;
mod table;
mod work;

pub use guest::Settings;
pub use measure::{Plan, measure};
pub use plot::plot;
pub use profile::{Profile, profile};
pub use results::{Baseline, Case, Environment, Results, Rivals, Target, Targets, load, save};
pub use rival::Rival;
pub use suite::{Clock, SUITES, Suite, find as find_suite};
pub use table::{render, render_environment};
