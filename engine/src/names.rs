//! Names for containers that got none: an adjective and a sea creature.

const FIRST: [&str; 48] = [
    "able", "amber", "brave", "brisk", "calm", "clear", "clever", "coral", "cosy", "deft", "eager",
    "early", "fair", "fleet", "fond", "gentle", "glad", "golden", "happy", "hardy", "humble",
    "jolly", "keen", "kind", "lively", "lucid", "merry", "mild", "neat", "nimble", "noble",
    "patient", "plain", "polar", "proud", "quick", "quiet", "ready", "silver", "sleek", "snug",
    "steady", "sunny", "swift", "tidy", "trusty", "witty", "zesty",
];
const SECOND: [&str; 48] = [
    "abalone",
    "anchovy",
    "barnacle",
    "bass",
    "beluga",
    "bream",
    "carp",
    "clam",
    "cod",
    "conch",
    "crab",
    "cuttlefish",
    "dolphin",
    "eel",
    "flounder",
    "gannet",
    "grouper",
    "gull",
    "haddock",
    "hake",
    "halibut",
    "heron",
    "herring",
    "kelp",
    "krill",
    "limpet",
    "lobster",
    "mackerel",
    "manatee",
    "marlin",
    "mussel",
    "narwhal",
    "nautilus",
    "octopus",
    "orca",
    "osprey",
    "otter",
    "oyster",
    "pelican",
    "perch",
    "puffin",
    "ray",
    "salmon",
    "seal",
    "squid",
    "tern",
    "turtle",
    "walrus",
];

/// A name chosen by `seed`; equal seeds give equal names.
pub(crate) fn generate(seed: [u8; 4]) -> String {
    let [a, b, c, d] = seed.map(usize::from);
    let first = FIRST.get((a * 256 + b) % FIRST.len()).unwrap_or(&"plain");
    let second = SECOND.get((c * 256 + d) % SECOND.len()).unwrap_or(&"clam");
    format!("{first}_{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_valid() {
        for n in 0..=u16::MAX {
            let [a, b] = n.to_be_bytes();
            assert!(generate([a, b, b, a]).parse::<rcnt_base::ids::Name>().is_ok());
        }
    }
}
