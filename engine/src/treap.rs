//! What treaps are heaps by: a number drawn for each node.
//!
//! Used by the two there are: `book::far`, whose nodes are the levels of a book themselves and are found
//! by key, and `stops::forest`, whose sequences are cut, joined, and left from inside. They share no more
//! than this: the book would carry a parent in every level for what it never does.
//!
//! Always holds: the number is a hash of the node's place with a seed that nobody knows, so no choice of
//! what is entered makes a treap deep, and what is visible does not depend on it.
//!
//! Source: Seidel and Aragon, "Randomized search trees", Algorithmica 16, 1996.

/// The number of a node: the finalizer of SplitMix64.
#[inline]
pub(crate) fn rank(seed: u64, place: u32) -> u64 {
    let mut mixed = seed ^ u64::from(place).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
