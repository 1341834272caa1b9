//! Rust's standard library on a static target: collections, threads, channels, files, processes, time, panics.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

fn collections() {
    let mut map = HashMap::new();
    let mut tree = BTreeMap::new();
    for n in 0..10_000u64 {
        map.insert(n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n);
        tree.insert(n * 7919 % 10_007, n);
    }
    let sum: u64 = map.values().sum();
    let set: HashSet<_> = map.keys().map(|key| key >> 56).collect();
    let mut queue: VecDeque<_> = tree.range(100..110).collect();
    queue.rotate_left(3);
    println!("collections {sum} {} {queue:?}", set.len());
    let mut text: Vec<String> = tree.keys().map(|key| format!("{key:05}")).collect();
    text.sort_by(|a, b| b.cmp(a));
    println!("{} {} {:?}", text.len(), text[0], text.iter().map(String::len).max());
}

fn threads() {
    let counter = Arc::new(AtomicU64::new(0));
    let guarded = Arc::new((Mutex::new(0u64), Condvar::new()));
    let lock = Arc::new(RwLock::new(Vec::new()));
    let barrier = Arc::new(Barrier::new(8));
    let workers: Vec<_> = (0..8u64)
        .map(|id| {
            let (counter, guarded, lock, barrier) = (counter.clone(), guarded.clone(), lock.clone(), barrier.clone());
            thread::Builder::new().name(format!("worker {id}")).spawn(move || {
                barrier.wait();
                for n in 0..500 {
                    counter.fetch_add(n, Ordering::Relaxed);
                    *guarded.0.lock().unwrap() += 1;
                }
                lock.write().unwrap().push(id);
                guarded.1.notify_all();
                thread::current().name().map(str::to_owned)
            })
        })
        .map(Result::unwrap)
        .collect();
    let all = guarded.1.wait_while(guarded.0.lock().unwrap(), |done| *done < 4000).unwrap();
    println!("threads {}", *all);
    drop(all);
    let names: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap().unwrap()).collect();
    let mut order = lock.read().unwrap().clone();
    order.sort_unstable();
    println!("{} {names:?} {order:?}", counter.load(Ordering::Relaxed));
    let (sender, receiver) = channel();
    for id in 0..4 {
        let sender = sender.clone();
        thread::spawn(move || (0..100).for_each(|n| sender.send(id * 1000 + n).unwrap()));
    }
    drop(sender);
    let received: Vec<i32> = receiver.iter().collect();
    println!("channel {} {}", received.len(), received.iter().sum::<i32>());
    static ONCE: Once = Once::new();
    let slept = Instant::now();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| ONCE.call_once(|| thread::sleep(Duration::from_millis(2))));
        }
    });
    println!("slept {}", slept.elapsed() >= Duration::from_millis(2));
    thread_local!(static LOCAL: std::cell::Cell<u32> = const { std::cell::Cell::new(5) });
    LOCAL.set(6);
    println!("local {} {}", LOCAL.get(), thread::spawn(|| LOCAL.get()).join().unwrap());
}

fn files() -> io::Result<()> {
    fs::create_dir_all("rust/a/b")?;
    fs::write("rust/a/text", "one\ntwo\nthree\n")?;
    fs::copy("rust/a/text", "rust/copy")?;
    symlink("a/text", "rust/link")?;
    fs::set_permissions("rust/copy", fs::Permissions::from_mode(0o640))?;
    let meta = fs::metadata("rust/copy")?;
    println!("files {} {:o} {}", meta.len(), meta.mode(), meta.modified()? <= SystemTime::now() + Duration::from_secs(1));
    let mut file = fs::OpenOptions::new().read(true).append(true).open("rust/link")?;
    writeln!(file, "four")?;
    file.seek(SeekFrom::Start(4))?;
    println!("{:?}", BufReader::new(file).lines().map_while(Result::ok).collect::<Vec<_>>());
    fs::rename("rust/copy", "rust/a/b/moved")?;
    let mut names: Vec<_> = fs::read_dir("rust/a")?.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    println!("{names:?} {:?}", fs::canonicalize("rust/link")?.file_name());
    println!("{:?} {:?}", fs::File::open("rust/none").map_err(|e| e.kind()).err(), fs::remove_dir("rust").map_err(|e| e.kind()).err());
    fs::remove_dir_all("rust")?;
    println!("{}", fs::exists("rust")?);
    Ok(())
}

fn processes() -> io::Result<()> {
    let me = std::env::current_exe()?;
    let output = Command::new(&me).arg("child").env("WORD", "whelk").output()?;
    println!("processes {:?} {:?} {}", output.status.code(), String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let mut cat = Command::new("/bin/busybox").arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    cat.stdin.take().unwrap().write_all(b"through a pipe")?;
    let mut text = String::new();
    cat.stdout.take().unwrap().read_to_string(&mut text)?;
    println!("{text} {:?}", cat.wait()?.code());
    let mut sleeper = Command::new("/bin/busybox").args(["sleep", "100"]).spawn()?;
    println!("running {:?}", sleeper.try_wait()?);
    sleeper.kill()?;
    println!("killed by {:?}", sleeper.wait()?.signal());
    println!("{:?}", Command::new("/no/such/program").spawn().map_err(|e| e.kind()).err());
    Ok(())
}

fn panics() {
    std::panic::set_hook(Box::new(|info| eprintln!("panicked: {info}")));
    let caught = std::panic::catch_unwind(|| {
        let v: Vec<u32> = Vec::new();
        v[std::hint::black_box(3)]
    });
    println!("caught {}", caught.is_err());
    println!("in a thread {}", thread::spawn(|| panic!("deliberately")).join().is_err());
    let poisoned = Mutex::new(());
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _guard = poisoned.lock();
        panic!("with a lock");
    }));
    println!("poisoned {}", poisoned.is_poisoned());
}

fn floats() {
    let mut sum = 0.0f64;
    for n in 1..2000u32 {
        let x = f64::from(n);
        sum += x.sqrt() / x.mul_add(1.5, 1.0) + (x as f32).powi(3) as f64 * 1e-9;
    }
    println!("floats {:016x}", sum.to_bits());
    let table: Vec<f32> = (0..64).map(|n| (n as f32 * 0.37).fract()).collect();
    println!("{:08x}", table.iter().fold(0f32, |a, b| a * 0.99 + b).to_bits());
}

fn main() -> io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("child") {
        println!("{}", std::env::var("WORD").unwrap());
        eprintln!("to standard error");
        std::process::exit(7);
    }
    collections();
    threads();
    files()?;
    processes()?;
    panics();
    floats();
    Ok(())
}
