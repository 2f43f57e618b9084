//! How a layer says "gone": the archive's whiteout files and overlayfs's own
//! marks, and which extended attributes a layer may carry. Pure.
//!
//! In an archive (OCI image-spec layer.md, "Whiteouts") `.wh.NAME` hides NAME of
//! the layers below and `.wh..wh..opq` hides all of a directory. overlayfs
//! (Documentation/filesystems/overlayfs.rst) wants a character device 0:0 and
//! the attribute `trusted.overlay.opaque`.

/// The attribute that makes a directory opaque, with the value `y`.
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

const PREFIX: &[u8] = b".wh.";
const META_PREFIX: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the last component of an entry's path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteout<'a> {
    /// Nothing special: make the entry.
    None,
    /// Hide this name of the layers below.
    Name(&'a [u8]),
    /// Hide all of the directory's content in the layers below.
    Opaque,
    /// A note that AUFS made for itself; docker skips it too.
    Ignore,
    /// A whiteout of nothing, or of something outside its directory.
    Refuse,
}

/// Reads a file name.
pub(crate) fn whiteout(name: &[u8]) -> Whiteout<'_> {
    if name == OPAQUE {
        return Whiteout::Opaque;
    }
    if name.starts_with(META_PREFIX) {
        return Whiteout::Ignore;
    }
    match name.strip_prefix(PREFIX) {
        None => Whiteout::None,
        Some(b"" | b"." | b"..") => Whiteout::Refuse,
        Some(hidden) => Whiteout::Name(hidden),
    }
}

/// Whether a layer's file may have this attribute. overlayfs's own are not for
/// strangers (`redirect` would point elsewhere), and labels of the builder's
/// security modules mean nothing here.
pub(crate) fn may_carry(xattr: &[u8]) -> bool {
    let user = xattr.starts_with(b"user.") && !xattr.starts_with(b"user.overlay.");
    user || matches!(
        xattr,
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whiteouts_are_told_by_name() {
        assert_eq!(whiteout(b"file"), Whiteout::None);
        assert_eq!(whiteout(b".wh.file"), Whiteout::Name(b"file"));
        assert_eq!(whiteout(b".wh..wh..opq"), Whiteout::Opaque);
        assert_eq!(whiteout(b".wh..wh.plnk"), Whiteout::Ignore);
        assert_eq!(whiteout(b".wh..hidden"), Whiteout::Name(b".hidden"));
        for bad in [&b".wh."[..], b".wh..", b".wh..."] {
            assert_eq!(whiteout(bad), Whiteout::Refuse, "{bad:?}");
        }
    }

    #[test]
    fn only_harmless_attributes_are_carried() {
        for good in ["user.a", "security.capability", "system.posix_acl_access"] {
            assert!(may_carry(good.as_bytes()), "{good}");
        }
        for bad in [
            "trusted.overlay.opaque",
            "trusted.overlay.redirect",
            "user.overlay.redirect",
            "security.selinux",
            "security.ima",
            "trusted.x",
            "",
        ] {
            assert!(!may_carry(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        /// The same rule in docker's words: cut the prefix, unless it is doubled.
        #[test]
        fn a_hidden_name_is_one_component_below(name in "[.wh/a]{0,14}") {
            if let Whiteout::Name(hidden) = whiteout(name.as_bytes()) {
                prop_assert_eq!([b".wh.", hidden].concat(), name.as_bytes());
                prop_assert!(!hidden.is_empty() && hidden != b"." && hidden != b"..");
            }
        }
    }
}
