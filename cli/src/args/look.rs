//! The flags of what looks at packets and at the network's shape.

use std::str::FromStr;

use clap::Args;
use time::Duration;

use crate::render::time::go_duration;

/// `capture`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct CaptureFlags {
    /// Stop after this many packets
    #[arg(short, long, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Stop after this time (30s, 5m)
    #[arg(long, value_name = "TIME", value_parser = duration_value)]
    pub(crate) duration: Option<Duration>,
    /// One of the container's interfaces (default all)
    #[arg(short, long, value_name = "INTERFACE")]
    pub(crate) interface: Option<String>,
    /// Keep only the first bytes of each packet (0 is all of them)
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) snaplen: u32,
    /// Write the packets to a file that Wireshark and tcpdump open (- is STDOUT)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) write: Option<String>,
    /// The container
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Which packets, in tcpdump's words
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

/// A Go duration, or a number of seconds.
fn duration_value(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::seconds).map_err(drop);
    let duration = seconds.or_else(|()| go_duration(text));
    let positive = duration.ok().filter(|d| d.is_positive());
    positive.ok_or_else(|| "not a time such as 30s or 5m".to_owned())
}

/// `network graph`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct GraphFlags {
    /// How to draw it: text, dot (graphviz), svg or json
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub(crate) format: GraphForm,
}

/// A form of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GraphForm {
    /// For a terminal.
    Text,
    /// For graphviz.
    Dot,
    /// A drawing.
    Svg,
    /// For programs.
    Json,
}

impl FromStr for GraphForm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "dot" => Ok(Self::Dot),
            "svg" => Ok(Self::Svg),
            "json" => Ok(Self::Json),
            _ => Err("must be one of text, dot, svg or json".to_owned()),
        }
    }
}

/// `network trace`.
#[derive(Args, Debug, Clone, PartialEq)]
pub(crate) struct TraceFlags {
    /// How to tell it: text or json
    #[arg(short, long, value_name = "FORM", default_value = "text", value_parser = ["text", "json"])]
    pub(crate) format: String,
    /// How long to wait for an answer
    #[arg(short, long, value_name = "TIME", default_value = "2s", value_parser = duration_value)]
    pub(crate) timeout: Duration,
    /// A container, "host", or an outside address
    #[arg(value_name = "SRC")]
    pub(crate) from: String,
    /// A container, an address or a name, with a port or without (then it is pinged)
    #[arg(value_name = "DST[:PORT][/udp]")]
    pub(crate) to: String,
}
