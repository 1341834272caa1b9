//! Instructions per operation, counted one by one with ptrace. `cargo test --release -p vma --test cost -- --ignored --nocapture`

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::hint::black_box;

use vma::{Backing, Limits, PAGE_SIZE, Place, VmaFlags, VmaMap};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Anonymous,
    Object(std::sync::Arc<()>, u64),
}

impl Backing for Kind {
    fn advanced(&self, pages: u64) -> Self {
        match self {
            Self::Anonymous => Self::Anonymous,
            Self::Object(object, page) => Self::Object(object.clone(), page + pages),
        }
    }
    fn continues(&self, pages: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Anonymous, Self::Anonymous) => true,
            (Self::Object(a, first), Self::Object(b, second)) => {
                std::sync::Arc::ptr_eq(a, b) && first + pages == *second
            }
            _ => false,
        }
    }
    fn is_anonymous(&self) -> bool {
        *self == Self::Anonymous
    }
}

/// Instructions that a closure takes, the cost of measuring included.
fn steps(work: impl FnOnce()) -> u64 {
    // SAFETY: the child uses only what it has got by the fork, raises signals and ends without unwinding.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            work();
            libc::raise(libc::SIGSTOP);
            libc::_exit(0);
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        let mut count = 0;
        loop {
            libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
            libc::waitpid(child, &raw mut status, 0);
            if !libc::WIFSTOPPED(status) || libc::WSTOPSIG(status) == libc::SIGSTOP {
                break;
            }
            count += 1;
        }
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &raw mut status, 0);
        count
    }
}

/// Runs an operation once to warm it up, then counts it.
fn cost(name: &str, map: &VmaMap<Kind>, mut work: impl FnMut(&mut VmaMap<Kind>)) {
    let mut map = map.try_clone().unwrap();
    work(&mut map);
    let nothing = steps(|| {
        black_box(());
    });
    println!("{name:40} {:6}", steps(|| work(black_box(&mut map))) - nothing);
}

#[test]
#[ignore = "a measurement"]
fn instructions() {
    let rw = VmaFlags::READ | VmaFlags::WRITE | VmaFlags::MAY_WRITE;
    let top = 0x7fff_f7ff_f000;
    for (name, libraries) in [("static program", 0), ("dynamic program", 12)] {
        let mut map = VmaMap::new(top);
        let mut fixed = |start: usize, pages: usize, flags, kind| {
            map.map(Place::Fixed(start), pages * PAGE_SIZE, PAGE_SIZE, flags, kind, &Limits::NONE, |_| {})
                .unwrap();
        };
        let file = std::sync::Arc::new(());
        for (index, flags) in
            [VmaFlags::READ, VmaFlags::READ | VmaFlags::EXECUTE, VmaFlags::READ, rw].into_iter().enumerate()
        {
            fixed(0x40_0000 + index * 0x1_0000, 16, flags, Kind::Object(file.clone(), index as u64 * 16));
        }
        fixed(0x100_0000, 33, rw | VmaFlags::HEAP, Kind::Anonymous);
        fixed(0x7fff_ffdd_e000, 33, rw | VmaFlags::GROWS_DOWN, Kind::Anonymous);
        fixed(0x7fff_ffff_9000, 1, VmaFlags::READ, Kind::Object(file.clone(), 900));
        fixed(0x7fff_ffff_a000, 1, VmaFlags::READ | VmaFlags::EXECUTE, Kind::Object(file.clone(), 1000));
        for library in 0..libraries {
            let object = std::sync::Arc::new(());
            let rights = [rw, VmaFlags::READ, VmaFlags::READ | VmaFlags::EXECUTE, VmaFlags::READ];
            for (index, flags) in rights.into_iter().enumerate() {
                let start = top - (library * 64 + index * 16 + 16) * PAGE_SIZE;
                fixed(start, 16, flags, Kind::Object(object.clone(), 64 - index as u64 * 16));
            }
        }
        println!("-- {name}, {} regions", map.count());
        let anonymous = |map: &mut VmaMap<Kind>, pages: usize, flags| {
            let place = Place::Anywhere(0);
            map.map(place, pages * PAGE_SIZE, PAGE_SIZE, flags, Kind::Anonymous, &Limits::NONE, |_| {})
                .unwrap()
        };
        cost("mmap and munmap of a page", &map, |map| {
            let at = anonymous(map, 1, rw);
            map.remove(at..at + PAGE_SIZE, |region| drop(black_box(region))).unwrap();
        });
        cost("munmap of nothing", &map, |map| map.remove(0x5000_0000..0x5000_1000, |_| {}).unwrap());
        let mut with = map.try_clone().unwrap();
        let at = anonymous(&mut with, 64, rw);
        cost("mmap that merges", &with, |map| {
            black_box(anonymous(map, 1, rw));
        });
        cost("mmap that doesn't merge, munmap", &with, |map| {
            let at = anonymous(map, 1, VmaFlags::READ);
            map.remove(at..at + PAGE_SIZE, |region| drop(black_box(region))).unwrap();
        });
        cost("mprotect of the middle, there and back", &with, |map| {
            let middle = at + 8 * PAGE_SIZE..at + 9 * PAGE_SIZE;
            map.protect(middle.clone(), VmaFlags::READ, &Limits::NONE, |_, _, _| {}).unwrap();
            map.protect(middle, rw, &Limits::NONE, |_, _, _| {}).unwrap();
        });
        cost("mprotect of the whole, there and back", &with, |map| {
            let whole = at..at + 64 * PAGE_SIZE;
            map.protect(whole.clone(), VmaFlags::READ, &Limits::NONE, |_, _, _| {}).unwrap();
            map.protect(whole, rw, &Limits::NONE, |_, _, _| {}).unwrap();
        });
        cost("find, the same as before", &with, |map| {
            black_box(map.find(black_box(at)));
        });
        cost("find, another one each time", &with, |map| {
            black_box(map.find(black_box(0x40_0000)));
            black_box(map.find(black_box(at)));
        });
        cost("clone", &with, |map| drop(black_box(map.try_clone())));
    }
}
