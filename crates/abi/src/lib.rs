#![no_std]
#![forbid(unsafe_code)]
use zerocopy::*;
#[derive(Clone,Copy,PartialEq,Eq,Debug)] pub struct Errno(u16);
impl Errno { pub const fn raw(self)->u16{self.0} pub fn from_raw(r:u16)->Self{Self(r)} pub fn name(self)->Option<&'static str>{None} }
macro_rules! e{($($n:ident=$v:literal),*)=>{impl Errno{$(pub const $n:Errno=Errno($v);)*}}}
e!(EPERM=1,ECHILD=10,ENOENT=2,ESRCH=3,EINTR=4,EIO=5,ENOEXEC=8,EBADF=9,EAGAIN=11,ENOMEM=12,EACCES=13,EFAULT=14,EBUSY=16,EEXIST=17,ENODEV=19,EINVAL=22,EOVERFLOW=75,ENAMETOOLONG=36,ENOSYS=38,EOPNOTSUPP=95,ETIMEDOUT=110,E2BIG=7);
#[derive(Clone,Copy,PartialEq,Eq,Debug,Default,FromBytes,IntoBytes,Immutable,KnownLayout)] #[repr(C)] pub struct Signal(pub u32);
impl Signal{pub const SIGSEGV:Signal=Signal(11);pub const SIGBUS:Signal=Signal(7);pub const SIGFPE:Signal=Signal(8);pub const SIGILL:Signal=Signal(4);pub const SIGTRAP:Signal=Signal(5);}
#[derive(Clone,Copy,Debug,Default,FromBytes,IntoBytes,Immutable,KnownLayout)] #[repr(C)] pub struct SigInfo{pub signal:Signal,pub code:i32,pub addr:u64}
impl SigInfo{pub fn fault(s:Signal,c:i32,a:u64)->Self{Self{signal:s,code:c,addr:a}}}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout,Default)] #[repr(C)] pub struct IoVec{pub base:u64,pub len:u64}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout,Default)] #[repr(C)] pub struct Timeval{pub sec:i64,pub usec:i64}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout,Default)] #[repr(C)] pub struct Rlimit64{pub cur:u64,pub max:u64}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout,Default)] #[repr(C)] pub struct Rusage{pub utime:Timeval,pub stime:Timeval,pub maxrss:i64,a:[u64;3],pub minflt:i64,b:[u64;9]}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout,Default)] #[repr(C)] pub struct Sysinfo{pub uptime:i64,pub loads:[u64;3],pub totalram:u64,pub freeram:u64,pub shared:u64,pub buf:u64,pub ts:u64,pub fs:u64,pub procs:u16,p:u16,p2:u32,pub th:u64,pub fh:u64,pub mem_unit:u32,p3:u32}
#[derive(Clone,Copy,Debug,FromBytes,IntoBytes,Immutable,KnownLayout)] #[repr(C)] pub struct Utsname{pub sysname:[u8;65],pub nodename:[u8;65],pub release:[u8;65],pub version:[u8;65],pub machine:[u8;65],pub domainname:[u8;65]}
bitflags::bitflags!{#[derive(Clone,Copy)] pub struct MapFlags:u32{const SHARED=1;const PRIVATE=2;const FIXED=16;const ANONYMOUS=32;const GROWSDOWN=0x100;const LOCKED=0x2000;const NORESERVE=0x4000;const POPULATE=0x8000;const NONBLOCK=0x10000;const HUGETLB=0x40000;const FIXED_NOREPLACE=0x100000;}
#[derive(Clone,Copy)] pub struct Prot:u32{const READ=1;const WRITE=2;const EXEC=4;const SEM=8;const GROWSDOWN=0x1000000;const GROWSUP=0x2000000;}}
