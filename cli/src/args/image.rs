//! The flags of everything that works on images.

use std::path::PathBuf;

use clap::Args;

/// `images`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct ImagesFlags {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go 'TEMPLATE'
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only images of this repository, or with this tag
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}

/// `rmi`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct RemoveImageFlags {
    /// Force removal of the image
    #[arg(short, long)]
    pub(crate) force: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
}

/// `load`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct LoadFlags {
    /// Read from an archive or an OCI layout directory, instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `pull`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct PullFlags {
    /// Pull the image of this platform (linux/arm64, linux/arm/v7)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) image: String,
}

/// `import`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct ImportFlags {
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// The platform of the image (linux/arm64, linux/arm/v7)
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// The tarball, or - for STDIN
    #[arg(value_name = "FILE|-")]
    pub(crate) source: String,
    /// What to call the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}
