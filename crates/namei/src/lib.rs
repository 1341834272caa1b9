//! Path resolution (path_resolution(7), openat2(2)) over any tree of names.
//!
//! A [`Walk`] goes from component to component and stops *before* the last one, so that a caller can look it up, create it, remove it or
//! rename it under its own locks; [`Walk::resolve`] is the plain lookup on top. Symbolic links don't recurse: what is left of an outer
//! path waits on a stack. The tree brings lookup, permission checks and mount points.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

/// Longest name of a component, in bytes (NAME_MAX).
pub const NAME_MAX: usize = 255;
/// Symbolic links that one resolution follows (MAXSYMLINKS).
pub const LINKS_MAX: u32 = 40;

/// What a node is, as far as a walk cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Directory,
    Symlink,
    Other,
}

/// Where a symbolic link leads.
#[derive(Debug)]
pub enum Target<Node, Body> {
    /// A path, relative to the link's directory or absolute.
    Path(Body),
    /// Straight to a node, without a path (`/proc/self/fd/3`).
    Node(Node),
}

/// Why a walk ends early, apart from what the tree itself reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// An empty path or link. ENOENT.
    Empty,
    /// A component that must be a directory is none. ENOTDIR.
    NotDirectory,
    /// More than [`LINKS_MAX`] links, or a link where [`Limits`] forbid them. ELOOP.
    Links,
    /// The path leaves what [`Limits`] allow. EXDEV.
    OutOfBounds,
}

/// A tree of names.
pub trait Tree {
    /// A place in the tree: for a kernel, a mount and a directory entry.
    type Node: Clone;
    /// What a look-up finds: an entry, before anything that is mounted on it.
    type Entry;
    /// A symbolic link's text.
    type Body: AsRef<[u8]>;
    type Error;

    /// The tree's word for an error of the walk itself.
    fn error(error: WalkError) -> Self::Error;
    /// Where absolute paths begin and `..` ends.
    fn root(&self) -> Self::Node;
    fn class(&self, node: &Self::Node) -> Class;
    fn entry_class(&self, entry: &Self::Entry) -> Class;
    /// Whether the caller may look names up in this directory. EACCES.
    fn may_search(&self, directory: &Self::Node) -> Result<(), Self::Error>;
    /// The entry of that name. ENOENT; ENAMETOOLONG beyond [`NAME_MAX`].
    fn lookup(&self, directory: &Self::Node, name: &[u8]) -> Result<Self::Entry, Self::Error>;
    /// From a directory to one of its entries, or to the root of what is mounted there.
    fn descend(&self, node: &mut Self::Node, entry: Self::Entry);
    /// The directory above, out of a mount if need be; `root()` is its own parent.
    fn parent(&self, node: &Self::Node) -> Self::Node;
    fn read_link(&self, link: &Self::Entry) -> Result<Target<Self::Node, Self::Body>, Self::Error>;
    fn same(&self, a: &Self::Node, b: &Self::Node) -> bool;
    fn same_mount(&self, a: &Self::Node, b: &Self::Node) -> bool;
}

/// How far `..` and absolute paths reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Everywhere,
    /// Leaving the start is an error (RESOLVE_BENEATH).
    Beneath,
    /// The start acts as the root (RESOLVE_IN_ROOT).
    InRoot,
}

/// The `resolve` flags of openat2(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub scope: Scope,
    /// RESOLVE_NO_XDEV
    pub one_mount: bool,
    /// RESOLVE_NO_MAGICLINKS
    pub no_magic_links: bool,
    /// RESOLVE_NO_SYMLINKS
    pub no_links: bool,
}

impl Limits {
    fn any(self) -> bool {
        self != Self::default()
    }
}

/// Whether a symbolic link as the last component is followed. One with a slash behind it always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Yes,
    No,
}

/// The last component, which [`Walk::to_last`] stops before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name: [`Walk::name`], in the directory [`Walk::node`].
    Name,
    Dot,
    DotDot,
    /// There is none (the path is `/`, or ended in a link without a path): [`Walk::node`] is the place itself.
    Nothing,
}

/// What a followed link led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// More components are ahead.
    Path,
    /// It was the last component and a jump: [`Walk::node`] is the place.
    Arrived,
}

enum Text<'p, Body> {
    Given(&'p [u8]),
    Link(Body),
}

impl<Body: AsRef<[u8]>> Text<'_, Body> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Text::Given(bytes) => bytes,
            Text::Link(body) => body.as_ref(),
        }
    }
}

/// A resolution under way.
pub struct Walk<'p, 't, T: Tree> {
    tree: &'t T,
    node: T::Node,
    /// Set if limits apply.
    limits: Option<(Limits, T::Node)>,
    text: Text<'p, T::Body>,
    /// The current component in `text`, and where the one behind it begins.
    start: usize,
    end: usize,
    next: usize,
    /// What is left of outer paths; each has a component left.
    outer: Vec<(Text<'p, T::Body>, usize)>,
    links: u32,
    follow: bool,
    must_be_directory: bool,
}

impl<T: Tree> core::fmt::Debug for Walk<'_, '_, T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Walk").field("links", &self.links).finish_non_exhaustive()
    }
}

/// Eight bytes of a text of fewer, the last ones being zero.
#[inline]
fn short_word(text: &[u8]) -> u64 {
    match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let shift = 8 * (text.len() - 4);
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << shift
        }
        _ => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A bit for each byte of a word that is a slash.
#[inline]
fn slash_bits(word: u64) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const SEVEN: u64 = 0x7f * LOW;
    let word = word ^ (LOW * b'/' as u64);
    // The top bit of each byte that has become zero, gathered in the uppermost byte.
    let zeros = !(((word & SEVEN) + SEVEN) | word | SEVEN);
    (zeros >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Where a text's slashes are.
#[derive(Clone, Copy)]
enum Slashes {
    /// A bit each, of a text of up to 64 bytes.
    Bits(u64),
    Many,
}

impl Slashes {
    #[inline]
    fn of(text: &[u8]) -> Self {
        if text.len() > 64 {
            return Self::Many;
        }
        let (words, rest) = text.as_chunks::<8>();
        let mut bits = 0;
        let mut at = 0;
        for word in words {
            bits |= slash_bits(u64::from_le_bytes(*word)) << at;
            at += 8;
        }
        if !rest.is_empty() {
            let word = match text.last_chunk::<8>() {
                Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
                None => short_word(rest),
            };
            bits |= slash_bits(word) << at;
        }
        Self::Bits(bits)
    }

    /// First index at or behind `from` whose byte is a slash, or the length.
    #[inline]
    fn component_end(self, text: &[u8], from: usize) -> usize {
        match self {
            Self::Bits(bits) => (from + (bits >> (from % 64)).trailing_zeros() as usize).min(text.len()),
            Self::Many => {
                let rest = text.get(from..).unwrap_or_default();
                from + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())
            }
        }
    }

    /// First index at or behind `from` whose byte is no slash, or the length.
    #[inline]
    fn skip(self, text: &[u8], from: usize) -> usize {
        match self {
            Self::Bits(bits) if from < 64 => (from + (bits >> from).trailing_ones() as usize).min(text.len()),
            _ => skip_slashes(text, from),
        }
    }
}

#[inline]
fn skip_slashes(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while text.get(at) == Some(&b'/') {
        at += 1;
    }
    at
}

/// A component: where it begins and ends, and where the one behind it begins.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    next: usize,
}

/// What a run over plain names stopped at.
enum Stop<Entry> {
    /// The text's last component.
    Last,
    /// `.` or `..`, last or not.
    Dots,
    /// A symbolic link that isn't last.
    Link(Entry),
    /// Nothing: the text is at its end.
    End,
}

/// Goes over names that lead from directory to directory, as far as there are some.
#[inline]
fn run<T: Tree>(
    tree: &T,
    node: &mut T::Node,
    text: &[u8],
    from: usize,
    mut descend: impl FnMut(&mut T::Node, T::Entry) -> Result<(), T::Error>,
) -> Result<(Span, Stop<T::Entry>), T::Error> {
    let slashes = Slashes::of(text);
    let mut start = slashes.skip(text, from);
    loop {
        if start >= text.len() {
            return Ok((Span { start, end: start, next: start }, Stop::End));
        }
        tree.may_search(node)?;
        let end = slashes.component_end(text, start);
        let next = slashes.skip(text, end);
        let span = Span { start, end, next };
        let Some(name) = text.get(start..end) else { return Ok((span, Stop::End)) };
        if name.first() == Some(&b'.') && matches!(name, b"." | b"..") {
            return Ok((span, Stop::Dots));
        }
        if next >= text.len() {
            return Ok((span, Stop::Last));
        }
        let entry = tree.lookup(node, name)?;
        if tree.entry_class(&entry) != Class::Directory {
            return match tree.entry_class(&entry) {
                Class::Symlink => Ok((span, Stop::Link(entry))),
                _ => Err(T::error(WalkError::NotDirectory)),
            };
        }
        descend(node, entry)?;
        start = next;
    }
}

/// Goes on to an entry, within RESOLVE_NO_XDEV.
#[inline(never)]
fn descend_within<T: Tree>(
    tree: &T,
    limits: Limits,
    node: &mut T::Node,
    entry: T::Entry,
) -> Result<(), T::Error> {
    let mut next = node.clone();
    tree.descend(&mut next, entry);
    if limits.one_mount && !tree.same_mount(node, &next) {
        return Err(T::error(WalkError::OutOfBounds));
    }
    *node = next;
    Ok(())
}

/// Looks a path up, without limits. As [`Walk::resolve`], and quicker as long as there are no links and dots. `start` is the root for
/// an absolute path, else where relative ones begin.
#[inline]
pub fn resolve<T: Tree>(tree: &T, path: &[u8], start: T::Node, follow: Follow) -> Result<T::Node, T::Error> {
    let mut node = start;
    if path.is_empty() {
        return Err(T::error(WalkError::Empty));
    }
    if tree.class(&node) != Class::Directory {
        return Err(T::error(WalkError::NotDirectory));
    }
    let (span, stop) = run(tree, &mut node, path, 0, |node, entry| {
        tree.descend(node, entry);
        Ok(())
    })?;
    if let Stop::End = stop {
        return Ok(node);
    }
    if let Stop::Last = stop {
        let entry = tree.lookup(&node, path.get(span.start..span.end).unwrap_or_default())?;
        let has_slash = span.end < path.len();
        match tree.entry_class(&entry) {
            Class::Symlink if follow == Follow::Yes || has_slash => {}
            Class::Other | Class::Symlink if has_slash => return Err(T::error(WalkError::NotDirectory)),
            _ => {
                tree.descend(&mut node, entry);
                return Ok(node);
            }
        }
    }
    Walk::at(tree, path, node, span.start, follow).resolve()
}

impl<'p, 't, T: Tree> Walk<'p, 't, T> {
    /// Begins at `start` (only called for relative paths and where limits name a scope; whatever error it reports for a bad descriptor
    /// comes before the path's own). An empty path is [`WalkError::Empty`].
    #[inline]
    pub fn new(
        tree: &'t T,
        path: &'p [u8],
        start: impl FnOnce() -> Result<T::Node, T::Error>,
        follow: Follow,
        limits: Limits,
    ) -> Result<Self, T::Error> {
        if path.is_empty() {
            return Err(T::error(WalkError::Empty));
        }
        let absolute = path.first() == Some(&b'/');
        let (node, limits) = if limits.any() {
            let start = if absolute && limits.scope == Scope::Everywhere { tree.root() } else { start()? };
            if absolute && limits.scope == Scope::Beneath {
                return Err(T::error(WalkError::OutOfBounds));
            }
            (start.clone(), Some((limits, start)))
        } else if absolute {
            (tree.root(), None)
        } else {
            (start()?, None)
        };
        if !absolute && tree.class(&node) != Class::Directory {
            return Err(T::error(WalkError::NotDirectory));
        }
        Ok(Self { limits, ..Self::at(tree, path, node, 0, follow) })
    }

    /// In the middle of a path: `node` is where the component at `next` is to be looked up.
    #[inline]
    fn at(tree: &'t T, path: &'p [u8], node: T::Node, next: usize, follow: Follow) -> Self {
        Self {
            tree,
            node,
            limits: None,
            text: Text::Given(path),
            start: 0,
            end: 0,
            next,
            outer: Vec::new(),
            links: 0,
            follow: follow == Follow::Yes,
            must_be_directory: false,
        }
    }

    /// The directory reached: where the last component stands.
    #[inline]
    pub fn node(&self) -> &T::Node {
        &self.node
    }

    /// Takes the place reached out of the walk.
    #[inline]
    pub fn into_node(self) -> T::Node {
        self.node
    }

    /// The current component. Not empty after [`Last::Name`].
    #[inline]
    pub fn name(&self) -> &[u8] {
        self.text.bytes().get(self.start..self.end).unwrap_or_default()
    }

    /// Whether slashes follow the last component (here or in a path that led through a link): it must be, or become, a directory.
    #[inline]
    pub fn wants_directory(&self) -> bool {
        self.must_be_directory
    }

    /// Whether a link in last place is to be followed.
    #[inline]
    pub fn follows_last(&self) -> bool {
        self.follow
    }

    /// Goes on until one component is left.
    pub fn to_last(&mut self) -> Result<Last, T::Error> {
        loop {
            let (tree, limits) = (self.tree, &self.limits);
            let descend = |node: &mut T::Node, entry: T::Entry| match limits {
                None => {
                    tree.descend(node, entry);
                    Ok(())
                }
                Some((limits, _)) => descend_within(tree, *limits, node, entry),
            };
            let (span, stop) = run(tree, &mut self.node, self.text.bytes(), self.next, descend)?;
            (self.start, self.end, self.next) = (span.start, span.end, span.next);
            let is_last = self.next >= self.text.bytes().len() && self.outer.is_empty();
            if is_last && self.end < self.text.bytes().len() {
                self.follow = true;
                self.must_be_directory = true;
            }
            match stop {
                Stop::End => {
                    let Some((outer, next)) = self.outer.pop() else { return Ok(Last::Nothing) };
                    self.text = outer;
                    self.next = next;
                    self.enter()?;
                }
                Stop::Last if is_last => return Ok(Last::Name),
                Stop::Last => {
                    // The last name of a link, behind which the outer path goes on.
                    let entry = self.lookup()?;
                    match tree.entry_class(&entry) {
                        Class::Directory => self.step(entry)?,
                        Class::Symlink => _ = self.follow_link(&entry)?,
                        Class::Other => return Err(T::error(WalkError::NotDirectory)),
                    }
                }
                // A link's text begins in the directory that it stands in, which has been entered.
                Stop::Link(entry) => _ = self.follow_link(&entry)?,
                Stop::Dots if self.name().len() == 1 => {
                    if is_last {
                        return Ok(Last::Dot);
                    }
                }
                Stop::Dots => {
                    if is_last {
                        return Ok(Last::DotDot);
                    }
                    self.go_up()?;
                }
            }
        }
    }

    /// Looks the current component up in the current directory.
    #[inline]
    pub fn lookup(&self) -> Result<T::Entry, T::Error> {
        self.tree.lookup(&self.node, self.name())
    }

    /// Goes to the parent directory, as far as limits allow.
    pub fn go_up(&mut self) -> Result<(), T::Error> {
        if let Some((limits, start)) = &self.limits
            && limits.scope != Scope::Everywhere
            && self.tree.same(&self.node, start)
        {
            return if limits.scope == Scope::Beneath {
                Err(T::error(WalkError::OutOfBounds))
            } else {
                Ok(())
            };
        }
        let parent = self.tree.parent(&self.node);
        self.check_mount(&parent)?;
        self.node = parent;
        Ok(())
    }

    /// Goes on to an entry of the current directory.
    #[inline]
    pub fn step(&mut self, entry: T::Entry) -> Result<(), T::Error> {
        if let Some((limits, _)) = &self.limits {
            return descend_within(self.tree, *limits, &mut self.node, entry);
        }
        self.tree.descend(&mut self.node, entry);
        Ok(())
    }

    /// Follows `link`, the current component.
    #[inline(never)]
    pub fn follow_link(&mut self, link: &T::Entry) -> Result<Followed, T::Error> {
        self.links += 1;
        if self.links > LINKS_MAX || self.limits.as_ref().is_some_and(|(limits, _)| limits.no_links) {
            return Err(T::error(WalkError::Links));
        }
        let body = match self.tree.read_link(link)? {
            Target::Node(node) => {
                if let Some((limits, _)) = &self.limits {
                    if limits.no_magic_links {
                        return Err(T::error(WalkError::Links));
                    }
                    self.check_mount(&node)?;
                    if limits.scope != Scope::Everywhere {
                        return Err(T::error(WalkError::OutOfBounds));
                    }
                }
                self.node = node;
                if self.next >= self.text.bytes().len() && self.outer.is_empty() {
                    return Ok(Followed::Arrived);
                }
                self.enter()?;
                return Ok(Followed::Path);
            }
            Target::Path(body) => body,
        };
        let bytes = body.as_ref();
        if bytes.is_empty() {
            return Err(T::error(WalkError::Empty));
        }
        if bytes.first() == Some(&b'/') {
            let root = match &self.limits {
                Some((Limits { scope: Scope::Beneath, .. }, _)) => {
                    return Err(T::error(WalkError::OutOfBounds));
                }
                Some((Limits { scope: Scope::InRoot, .. }, start)) => start.clone(),
                _ => self.tree.root(),
            };
            self.check_mount(&root)?;
            self.node = root;
        }
        let outer = core::mem::replace(&mut self.text, Text::Link(body));
        if self.next < outer.bytes().len() {
            self.outer.push((outer, self.next));
        }
        self.next = 0;
        Ok(Followed::Path)
    }

    /// Looks the whole path up.
    #[inline]
    pub fn resolve(mut self) -> Result<T::Node, T::Error> {
        loop {
            match self.to_last()? {
                Last::Name => {
                    let entry = self.lookup()?;
                    if self.follow && self.tree.entry_class(&entry) == Class::Symlink {
                        if self.follow_link(&entry)? == Followed::Path {
                            continue;
                        }
                    } else {
                        self.step(entry)?;
                    }
                }
                Last::DotDot => self.go_up()?,
                Last::Dot | Last::Nothing => {}
            }
            if self.must_be_directory {
                self.enter()?;
            }
            return Ok(self.node);
        }
    }

    fn enter(&self) -> Result<(), T::Error> {
        match self.tree.class(&self.node) {
            Class::Directory => Ok(()),
            _ => Err(T::error(WalkError::NotDirectory)),
        }
    }

    #[inline]
    fn check_mount(&self, next: &T::Node) -> Result<(), T::Error> {
        match &self.limits {
            Some((limits, _)) if limits.one_mount && !self.tree.same_mount(&self.node, next) => {
                Err(T::error(WalkError::OutOfBounds))
            }
            _ => Ok(()),
        }
    }
}
