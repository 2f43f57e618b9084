//! Names that completion offers.
pub(crate) fn containers() -> Vec<String> {
    Vec::new()
}
pub(crate) fn images() -> Vec<String> {
    Vec::new()
}
pub(crate) fn containers_and_images() -> Vec<String> {
    Vec::new()
}
