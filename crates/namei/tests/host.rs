//! The walk against the host's kernel: the same random tree on disk and in a model, the same paths through openat2(RESOLVE_IN_ROOT).
#![expect(unsafe_code, reason = "calls openat2 directly")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use namei::{Class, Follow, Limits, NAME_MAX, Scope, Target, Tree, Walk, WalkError};
use proptest::prelude::*;

#[derive(Debug)]
enum Kind {
    Directory(BTreeMap<Vec<u8>, usize>),
    File,
    Link(Vec<u8>),
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    parent: usize,
    inode: u64,
}

#[derive(Debug, Default)]
struct Model(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Code(i32);

impl Tree for Model {
    type Node = usize;
    type Entry = usize;
    type Body = Vec<u8>;
    type Error = Code;

    fn error(error: WalkError) -> Code {
        Code(match error {
            WalkError::Empty => libc::ENOENT,
            WalkError::NotDirectory => libc::ENOTDIR,
            WalkError::Links => libc::ELOOP,
            WalkError::OutOfBounds => libc::EXDEV,
        })
    }

    fn root(&self) -> usize {
        0
    }
    fn class(&self, node: &usize) -> Class {
        match self.0[*node].kind {
            Kind::Directory(_) => Class::Directory,
            Kind::File => Class::Other,
            Kind::Link(_) => Class::Symlink,
        }
    }
    fn entry_class(&self, entry: &usize) -> Class {
        self.class(entry)
    }
    fn descend(&self, node: &mut usize, entry: usize) {
        *node = entry;
    }
    fn may_search(&self, _: &usize) -> Result<(), Code> {
        Ok(())
    }
    fn lookup(&self, directory: &usize, name: &[u8]) -> Result<usize, Code> {
        match &self.0[*directory].kind {
            _ if name.len() > NAME_MAX => Err(Code(libc::ENAMETOOLONG)),
            Kind::Directory(children) => children.get(name).copied().ok_or(Code(libc::ENOENT)),
            _ => panic!("a lookup in something else than a directory"),
        }
    }
    fn parent(&self, node: &usize) -> usize {
        self.0[*node].parent
    }
    fn read_link(&self, link: &usize) -> Result<Target<usize, Vec<u8>>, Code> {
        match &self.0[*link].kind {
            Kind::Link(body) => Ok(Target::Path(body.clone())),
            _ => Err(Code(libc::EINVAL)),
        }
    }
    fn same(&self, a: &usize, b: &usize) -> bool {
        a == b
    }
    fn same_mount(&self, _: &usize, _: &usize) -> bool {
        true
    }
}

/// Names are few, so that random paths meet the tree.
fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[abc]",
        2 => Just(".".to_owned()),
        2 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => Just("x".repeat(NAME_MAX + 1)),
    ]
}

fn path() -> impl Strategy<Value = String> {
    (any::<bool>(), prop::collection::vec(component(), 1..6), any::<bool>()).prop_map(
        |(absolute, parts, slash)| {
            let mut text = String::new();
            if absolute {
                text.push('/');
            }
            text.push_str(&parts.join("/"));
            if slash {
                text.push('/');
            }
            text
        },
    )
}

#[derive(Clone, Debug)]
enum Make {
    Directory,
    File,
    Link(String),
}

fn make() -> impl Strategy<Value = Make> {
    prop_oneof![3 => Just(Make::Directory), 1 => Just(Make::File), 4 => path().prop_map(Make::Link)]
}

/// Adds an entry to the `nth` directory, in the model and on disk.
fn add(
    model: &mut Model,
    places: &mut Vec<(usize, std::path::PathBuf)>,
    nth: usize,
    name: &str,
    what: &Make,
) {
    let (parent, at) = places[nth % places.len()].clone();
    let at = at.join(name);
    let index = model.0.len();
    let Kind::Directory(children) = &mut model.0[parent].kind else { unreachable!() };
    if children.contains_key(name.as_bytes()) {
        return;
    }
    let kind = match what {
        Make::Directory => {
            fs::create_dir(&at).unwrap();
            Kind::Directory(BTreeMap::new())
        }
        Make::File => {
            fs::write(&at, b"").unwrap();
            Kind::File
        }
        Make::Link(body) => {
            if body.is_empty() || symlink(body, &at).is_err() {
                return;
            }
            Kind::Link(body.clone().into_bytes())
        }
    };
    children.insert(name.as_bytes().to_vec(), index);
    if matches!(kind, Kind::Directory(_)) {
        places.push((index, at.clone()));
    }
    let inode = fs::symlink_metadata(&at).unwrap().ino();
    model.0.push(Entry { kind, parent, inode });
}

/// The inode that the host finds, or its errno.
fn host(root: &fs::File, path: &str, follow: Follow, resolve: u64) -> Result<u64, Code> {
    #[repr(C)]
    struct OpenHow {
        flags: u64,
        mode: u64,
        resolve: u64,
    }
    let text = CString::new(path).unwrap();
    let nofollow = if follow == Follow::No { libc::O_NOFOLLOW } else { 0 };
    let flags = u64::from((libc::O_PATH | nofollow | libc::O_CLOEXEC).cast_unsigned());
    let how = OpenHow { flags, mode: 0, resolve };
    // SAFETY: plain system calls on memory that outlives them.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            text.as_ptr(),
            &raw const how,
            size_of::<OpenHow>(),
        );
        if fd < 0 {
            return Err(Code(*libc::__errno_location()));
        }
        let fd = i32::try_from(fd).unwrap();
        let mut stat = std::mem::zeroed::<libc::stat>();
        assert_eq!(libc::fstat(fd, &raw mut stat), 0);
        libc::close(fd);
        Ok(stat.st_ino)
    }
}

fn has_openat2(root: &Path) -> bool {
    let directory = fs::File::open(root).unwrap();
    host(&directory, ".", Follow::Yes, 0x10).is_ok()
}

/// A directory that goes with its handle.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        static SERIAL: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("namei-{}-{serial}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn resolves_as_the_host_does(
        entries in prop::collection::vec((any::<prop::sample::Index>(), "[abc]", make()), 1..14),
        paths in prop::collection::vec((path(), any::<bool>()), 1..30),
    ) {
        let root = Scratch::new();
        if !has_openat2(root.path()) {
            return Ok(());
        }
        let inode = fs::metadata(root.path()).unwrap().ino();
        let mut model = Model(vec![Entry { kind: Kind::Directory(BTreeMap::new()), parent: 0, inode }]);
        let mut places = vec![(0, root.path().to_owned())];
        for (nth, name, what) in &entries {
            add(&mut model, &mut places, nth.index(1000), name, what);
        }
        let directory = fs::File::open(root.path()).unwrap();
        for (path, follow) in &paths {
            let follow = if *follow { Follow::Yes } else { Follow::No };
            for (scope, resolve) in [(Scope::InRoot, 0x10u64), (Scope::Beneath, 0x08)] {
                for no_links in [false, true] {
                    let limits = Limits { scope, no_links, ..Limits::default() };
                    let ours = Walk::new(&model, path.as_bytes(), || Ok(0), follow, limits)
                        .and_then(Walk::resolve)
                        .map(|node| model.0[node].inode);
                    let theirs = host(&directory, path, follow, resolve | if no_links { 0x04 } else { 0 });
                    if scope == Scope::InRoot && !no_links {
                        // The model's root is the start, so that no limits amount to these.
                        let quick = namei::resolve(&model, path.as_bytes(), 0, follow);
                        prop_assert_eq!(quick.map(|node| model.0[node].inode), theirs.clone(), "{} {:?}", path, model);
                    }
                    prop_assert_eq!(ours, theirs, "{} {:?} {:?} {:?}", path, follow, limits, model);
                }
            }
        }
    }
}

fn deep_links(count: usize) -> Model {
    let mut children = BTreeMap::new();
    let mut entries = Vec::new();
    children.insert(b"f".to_vec(), 1);
    entries.push(Entry { kind: Kind::File, parent: 0, inode: 1 });
    for index in 0..count {
        let to = if index == 0 { "f".to_owned() } else { format!("l{}", index - 1) };
        children.insert(format!("l{index}").into_bytes(), index + 2);
        entries.push(Entry { kind: Kind::Link(to.into_bytes()), parent: 0, inode: 0 });
    }
    entries.insert(0, Entry { kind: Kind::Directory(children), parent: 0, inode: 0 });
    Model(entries)
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let model = deep_links(41);
    let walk = |path: &'static [u8]| {
        Walk::new(&model, path, || Ok(0), Follow::Yes, Limits::default()).and_then(Walk::resolve)
    };
    assert_eq!(walk(b"l39"), Ok(1));
    assert_eq!(walk(b"l40"), Err(Code(libc::ELOOP)));
}

#[test]
fn stops_before_the_last_component() {
    let model = deep_links(1);
    let mut walk = Walk::new(&model, b"/new//", || Ok(0), Follow::No, Limits::default()).unwrap();
    assert_eq!(walk.to_last(), Ok(namei::Last::Name));
    assert_eq!((walk.name(), walk.wants_directory(), *walk.node()), (&b"new"[..], true, 0));
    let mut walk = Walk::new(&model, b"//", || Ok(0), Follow::No, Limits::default()).unwrap();
    assert_eq!(walk.to_last(), Ok(namei::Last::Nothing));
    let empty = Walk::new(&model, b"", || Ok(0), Follow::No, Limits::default());
    assert_eq!(empty.map(|_| ()), Err(Code(libc::ENOENT)));
}
