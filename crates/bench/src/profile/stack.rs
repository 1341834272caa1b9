//! Stacks of calls, followed from the addresses of executed instructions alone.
//!
//! A call pushes, a return pops. A jump into another function stays at its depth, and so does an exception in the kernel. A return to an
//! address that isn't on the stack means that the kernel has switched to another thread, whose stack was put aside when it last ran.

use std::collections::HashMap;

use crate::profile::symbols::Flow;

/// Number of a stack of call sites; 0 is the empty one.
pub(crate) type Node = usize;

#[derive(Clone, Copy, Debug)]
struct Frame {
    node: Node,
    return_address: u64,
}

/// Follows the kernel's instructions.
#[derive(Debug)]
pub(crate) struct Stacks {
    /// Parent and call site of each node.
    nodes: Vec<(Node, u64)>,
    children: HashMap<(Node, u64), Node>,
    current: Vec<Frame>,
    /// Stacks of threads that don't run now, the one that ran last at the end.
    aside: Vec<Vec<Frame>>,
    /// The kernel's instruction before this one.
    last: Option<u64>,
    /// The function that switches between stacks, and whether it runs.
    switch: Option<u64>,
    switching: bool,
}

/// Stacks of threads that have ended stay aside: that many are kept.
const MOST_ASIDE: usize = 1024;

impl Stacks {
    /// For a kernel that switches between threads in the function at this address.
    pub(crate) fn new(switch: Option<u64>) -> Self {
        Self {
            nodes: vec![(0, 0)],
            children: HashMap::new(),
            current: Vec::new(),
            aside: Vec::new(),
            last: None,
            switch,
            switching: false,
        }
    }

    /// The program runs: the kernel's stack is empty.
    pub(crate) fn program(&mut self) {
        self.current.clear();
        self.last = None;
    }

    /// The kernel runs this instruction: where it is called from.
    pub(crate) fn kernel(&mut self, address: u64, flow: impl Fn(u64) -> Option<Flow>) -> Node {
        if let Some(last) = self.last {
            match flow(last) {
                Some(Flow::Call { next }) if next != address => {
                    let node = self.child(self.top(), last);
                    self.current.push(Frame { node, return_address: next });
                }
                Some(Flow::Return) => {
                    if std::mem::take(&mut self.switching) {
                        self.put_aside();
                    }
                    self.return_to(address);
                }
                _ => {}
            }
        }
        self.last = Some(address);
        self.switching |= self.switch == Some(address);
        self.top()
    }

    /// Call sites, the outermost first.
    pub(crate) fn call_sites(&self, mut node: Node) -> Vec<u64> {
        let mut sites = Vec::new();
        while let Some(&(parent, site)) = self.nodes.get(node).filter(|_| node != 0) {
            sites.push(site);
            node = parent;
        }
        sites.reverse();
        sites
    }

    fn top(&self) -> Node {
        self.current.last().map_or(0, |frame| frame.node)
    }

    fn child(&mut self, parent: Node, site: u64) -> Node {
        let next = self.nodes.len();
        let node = *self.children.entry((parent, site)).or_insert(next);
        if node == next {
            self.nodes.push((parent, site));
        }
        node
    }

    fn return_to(&mut self, address: u64) {
        let is_target = |frame: &Frame| frame.return_address == address;
        if self.current.last().is_some_and(is_target) {
            self.current.pop();
            return;
        }
        // The last frame of a stack that was put aside is the call of the switch.
        let resumed = self.aside.iter().rposition(|stack| stack.last().is_some_and(is_target));
        let mut next = resumed.map(|index| self.aside.remove(index)).unwrap_or_default();
        next.pop();
        let before = std::mem::replace(&mut self.current, next);
        if !before.is_empty() {
            self.aside.push(before);
        }
        if self.aside.len() > MOST_ASIDE {
            self.aside.remove(0);
        }
    }

    /// A switch between threads returns to where the *other* one called it, which is the same address: the stack is put aside first.
    fn put_aside(&mut self) {
        let before = std::mem::take(&mut self.current);
        self.aside.push(before);
        // The other one's, if it is there, is the last before ours: out of our way until it returns.
        let len = self.aside.len();
        if let Some(index) = len.checked_sub(2) {
            self.aside.swap(index, len - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls at 10, 20 and 30 (returning one behind), returns at 19, 29, 39. The switch is at 35 to 39.
    fn flow(address: u64) -> Option<Flow> {
        match address {
            10 | 20 | 30 => Some(Flow::Call { next: address + 1 }),
            19 | 29 | 39 => Some(Flow::Return),
            _ => None,
        }
    }

    fn sites(stacks: &mut Stacks, address: u64) -> Vec<u64> {
        let node = stacks.kernel(address, flow);
        stacks.call_sites(node)
    }

    #[test]
    fn calls_nest() {
        let mut stacks = Stacks::new(Some(35));
        for (address, expected) in [
            (10, &[][..]),
            (20, &[10]),
            (30, &[10, 20]),
            (39, &[10, 20, 30]),
            (31, &[10, 20]),
            (29, &[10, 20]),
            (21, &[10]),
        ] {
            assert_eq!(sites(&mut stacks, address), expected, "{address}");
        }
        stacks.program();
        assert!(sites(&mut stacks, 39).is_empty());
    }

    #[test]
    fn threads_have_their_own() {
        let mut stacks = Stacks::new(Some(35));
        // The first thread switches in a call at 10, the second in one at 20, below which the same call at 30 switches.
        sites(&mut stacks, 10);
        sites(&mut stacks, 30);
        sites(&mut stacks, 35);
        sites(&mut stacks, 39);
        // A new thread starts elsewhere.
        assert!(sites(&mut stacks, 50).is_empty());
        stacks.program();
        sites(&mut stacks, 20);
        sites(&mut stacks, 30);
        assert_eq!(sites(&mut stacks, 38), [20, 30]);
        sites(&mut stacks, 35);
        sites(&mut stacks, 39);
        assert_eq!(sites(&mut stacks, 31), [10]);
        sites(&mut stacks, 30);
        sites(&mut stacks, 35);
        sites(&mut stacks, 39);
        assert_eq!(sites(&mut stacks, 31), [20]);
    }
}
