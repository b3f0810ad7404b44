//! Ordered sequences that can be cut in two and joined: treaps over one slab of nodes.
//!
//! Used by the stop orders. A treap is a search tree by place and a heap by a number drawn for each node
//! (`treap`), so no choice of what is entered makes it deep.
//!
//! Always holds: no number is above its parent's; a root has no parent. A node that is in no sequence
//! is a sequence of one.

use crate::treap::rank;

/// The place of a node.
pub(super) type NodeIndex = u32;

/// No node.
pub(super) const NO_NODE: NodeIndex = u32::MAX;

#[derive(Clone, Copy)]
struct Node<T> {
    value: T,
    parent: NodeIndex,
    before: NodeIndex,
    behind: NodeIndex,
}

/// The nodes of all sequences.
pub(super) struct Forest<T> {
    nodes: Vec<Node<T>>,
    free: Vec<NodeIndex>,
    seed: u64,
}

/// Where a part of a sequence is hung next.
#[derive(Clone, Copy)]
enum Link {
    Root,
    Before(NodeIndex),
    Behind(NodeIndex),
}

impl<T: Copy> Forest<T> {
    /// No nodes.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            seed,
        }
    }

    /// A sequence of one.
    pub(super) fn make(&mut self, value: T) -> NodeIndex {
        let node = Node {
            value,
            parent: NO_NODE,
            before: NO_NODE,
            behind: NO_NODE,
        };
        match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as NodeIndex - 1
            }
        }
    }

    /// Forgets a node that was taken out.
    pub(super) fn free(&mut self, index: NodeIndex) {
        self.free.push(index);
    }

    /// What a node holds.
    #[inline]
    pub(super) fn at(&self, index: NodeIndex) -> &T {
        &self.nodes[index as usize].value
    }

    /// The first node of a sequence.
    #[inline]
    pub(super) fn first(&self, root: NodeIndex) -> Option<NodeIndex> {
        let (mut node, mut found) = (root, None);
        while node != NO_NODE {
            found = Some(node);
            node = self.nodes[node as usize].before;
        }
        found
    }

    /// Cuts a sequence behind the last node for which `belongs` holds; it must hold for none behind one
    /// for which it does not.
    pub(super) fn split(
        &mut self,
        root: NodeIndex,
        belongs: impl Fn(&T) -> bool,
    ) -> (NodeIndex, NodeIndex) {
        let (mut head, mut tail) = (NO_NODE, NO_NODE);
        let (mut head_link, mut tail_link) = (Link::Root, Link::Root);
        let mut node = root;
        while node != NO_NODE {
            if belongs(self.at(node)) {
                self.hang(&mut head, head_link, node);
                head_link = Link::Behind(node);
                node = self.nodes[node as usize].behind;
            } else {
                self.hang(&mut tail, tail_link, node);
                tail_link = Link::Before(node);
                node = self.nodes[node as usize].before;
            }
        }
        self.hang(&mut head, head_link, NO_NODE);
        self.hang(&mut tail, tail_link, NO_NODE);
        (head, tail)
    }

    /// Puts one sequence behind another.
    pub(super) fn join(&mut self, head: NodeIndex, tail: NodeIndex) -> NodeIndex {
        let (mut head, mut tail) = (head, tail);
        let (mut root, mut link) = (NO_NODE, Link::Root);
        while head != NO_NODE && tail != NO_NODE {
            if self.number(head) >= self.number(tail) {
                self.hang(&mut root, link, head);
                link = Link::Behind(head);
                head = self.nodes[head as usize].behind;
            } else {
                self.hang(&mut root, link, tail);
                link = Link::Before(tail);
                tail = self.nodes[tail as usize].before;
            }
        }
        let rest = if head == NO_NODE { tail } else { head };
        self.hang(&mut root, link, rest);
        root
    }

    /// Takes a node out of its sequence, and gives what stands in its place: the root, if it was one.
    pub(super) fn take_out(&mut self, index: NodeIndex) -> NodeIndex {
        let gone = self.nodes[index as usize];
        let rest = self.join(gone.before, gone.behind);
        if gone.parent != NO_NODE {
            let parent = &self.nodes[gone.parent as usize];
            let link = if parent.before == index {
                Link::Before(gone.parent)
            } else {
                Link::Behind(gone.parent)
            };
            let mut root = NO_NODE;
            self.hang(&mut root, link, rest);
        }
        rest
    }

    /// The values of a sequence, in order.
    pub(super) fn walk(&self, root: NodeIndex) -> impl Iterator<Item = &T> {
        let mut next = self.first(root);
        std::iter::from_fn(move || {
            let node = next?;
            next = self.following(node);
            Some(self.at(node))
        })
    }

    fn following(&self, index: NodeIndex) -> Option<NodeIndex> {
        let behind = self.nodes[index as usize].behind;
        if behind != NO_NODE {
            return self.first(behind);
        }
        let mut node = index;
        loop {
            let parent = self.nodes[node as usize].parent;
            if parent == NO_NODE {
                return None;
            }
            if self.nodes[parent as usize].before == node {
                return Some(parent);
            }
            node = parent;
        }
    }

    fn hang(&mut self, root: &mut NodeIndex, link: Link, node: NodeIndex) {
        let parent = match link {
            Link::Root => {
                *root = node;
                NO_NODE
            }
            Link::Before(parent) => {
                self.nodes[parent as usize].before = node;
                parent
            }
            Link::Behind(parent) => {
                self.nodes[parent as usize].behind = node;
                parent
            }
        };
        if node != NO_NODE {
            self.nodes[node as usize].parent = parent;
        }
    }

    fn number(&self, index: NodeIndex) -> u64 {
        rank(self.seed, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(forest: &Forest<u32>, node: NodeIndex) -> usize {
        match node {
            NO_NODE => 0,
            _ => {
                let Node { before, behind, .. } = forest.nodes[node as usize];
                1 + depth(forest, before).max(depth(forest, behind))
            }
        }
    }

    #[test]
    fn values_in_a_row_do_not_make_it_deep_and_a_cut_keeps_their_order() {
        let mut forest = Forest::new(7);
        let mut root = NO_NODE;
        for value in 0..100_000 {
            let node = forest.make(value);
            root = forest.join(root, node);
        }
        // Twice the expected depth of the deepest node would be 2 x 4.3 ln(n).
        assert!(depth(&forest, root) < 100);
        let (head, tail) = forest.split(root, |value| *value < 12_345);
        assert!(forest.walk(head).copied().eq(0..12_345));
        assert!(forest.walk(tail).copied().eq(12_345..100_000));
    }
}
