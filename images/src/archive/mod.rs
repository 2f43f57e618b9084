//! Images out of files.
