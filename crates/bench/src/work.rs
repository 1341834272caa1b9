//! One run of a program that prints a measured line.

/// What is run for a case.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    /// The guest's command line.
    pub(crate) words: Vec<String>,
    /// This host's; `None` if it can't be run here.
    pub(crate) native: Option<Vec<String>>,
}
