//! What can go wrong, as data: each variant says what was expected and what was found, and where.
//!
//! The variants are the same in Gleam (`viva_tensor.Error`) and, as atoms, in Elixir.

/// The engine's one error type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A file or folder that should be there is not.
    #[error("{path}: not found; expected {expected}")]
    NotFound { path: String, expected: String },
    /// The operating system refused to read a file.
    #[error("{path}: cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    /// A file's content breaks its format's rules: truncated, lying, damaged.
    #[error("{at}: expected {expected}, found {found}")]
    Malformed { at: String, expected: String, found: String },
    /// Valid, but not something this engine does.
    #[error("{at}: {found} is not supported; expected {expected}")]
    Unsupported { at: String, expected: String, found: String },
    /// An option or argument of the caller is out of its range.
    #[error("{option}: expected {expected}, found {found}")]
    InvalidOption { option: String, expected: String, found: String },
    /// The prompt encodes to no token.
    #[error("the prompt is empty: it encodes to no token")]
    EmptyPrompt,
    /// Prompt and answer do not fit into the context.
    #[error("{wanted_tokens} tokens do not fit into a context of {limit_tokens}")]
    ContextOverflow { wanted_tokens: usize, limit_tokens: usize },
    /// Memory is short.
    #[error("{wanted_bytes} bytes wanted, {free_bytes} free")]
    OutOfMemory { wanted_bytes: u64, free_bytes: u64 },
    /// The GPU does not work for this process any more, after a fault; a new process may use it again.
    #[error("the GPU is lost to this process: {reason}")]
    DeviceLost { reason: String },
    /// The chat template failed on these messages.
    #[error("chat template: {reason}")]
    Template { reason: String },
    /// Another process is using this session.
    #[error("the session is in use by another process")]
    Busy,
    /// The caller died or asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A defect of the engine, caught at its border.
    #[error("internal error: {reason}")]
    Internal { reason: String },
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn malformed(at: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::Malformed { at: at.into(), expected: expected.into(), found: found.into() }
    }

    pub fn unsupported(at: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::Unsupported { at: at.into(), expected: expected.into(), found: found.into() }
    }
}
