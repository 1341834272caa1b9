//! capabilities(7), rule by rule, and what holds after any sequence of changes.

use caps::{ALL, Caps, Ids, NotPermitted, cap, secure};
use proptest::prelude::*;

const ROOT: Ids = Ids { real: 0, effective: 0, saved: 0 };
const USER: Ids = Ids { real: 1000, effective: 1000, saved: 1000 };

#[test]
fn root_that_becomes_a_user_loses_everything() {
    let mut caps = Caps::default();
    caps.ids_changed(ROOT, USER);
    assert_eq!((caps.permitted, caps.effective, caps.bounding), (0, 0, ALL));
    caps.ids_changed(USER, ROOT);
    assert_eq!(caps.effective, 0, "nothing is permitted any more");
    assert!(!caps.exec(0, 0, false));
    assert_eq!((caps.permitted, caps.effective), (ALL, ALL));
}

#[test]
fn root_that_acts_as_a_user_can_go_back() {
    let mut caps = Caps::default();
    let acting = Ids { effective: 1000, ..ROOT };
    caps.ids_changed(ROOT, acting);
    assert_eq!((caps.permitted, caps.effective), (ALL, 0));
    caps.ids_changed(acting, ROOT);
    assert_eq!(caps.effective, ALL);
}

#[test]
fn kept_capabilities_are_permitted_until_exec() {
    let mut caps = Caps::default();
    caps.set_keep(true).unwrap();
    caps.ids_changed(ROOT, USER);
    assert_eq!((caps.permitted, caps.effective), (ALL, 0));
    assert!(!caps.exec(1000, 1000, false));
    assert_eq!((caps.permitted, caps.effective, caps.secure), (0, 0, 0));
}

#[test]
fn ambient_capabilities_survive_exec() {
    let mut caps = Caps::default();
    assert_eq!(caps.raise_ambient(cap::KILL), Err(NotPermitted), "it isn't inheritable");
    caps.set(ALL, ALL, 1 << cap::KILL).unwrap();
    caps.raise_ambient(cap::KILL).unwrap();
    caps.set_keep(true).unwrap();
    caps.ids_changed(ROOT, USER);
    assert_eq!(caps.ambient, 0, "leaving root clears them");
    caps.raise_ambient(cap::KILL).unwrap();
    assert!(!caps.exec(1000, 1000, false));
    assert_eq!((caps.permitted, caps.effective), (1 << cap::KILL, 1 << cap::KILL));
    assert!(caps.exec(1000, 1001, true));
    assert_eq!((caps.permitted, caps.ambient), (0, 0));
}

#[test]
fn a_program_of_roots_gives_what_the_bounding_set_has() {
    let mut caps = Caps::default();
    caps.drop_bound(cap::SYS_TIME).unwrap();
    caps.ids_changed(ROOT, USER);
    assert!(caps.exec(1000, 0, true));
    assert_eq!(caps.permitted, ALL & !(1 << cap::SYS_TIME));
    assert_eq!(caps.effective, caps.permitted);
    assert_eq!(caps.set(0, 0, 1 << cap::SYS_TIME), Err(NotPermitted), "out of bounds");
    let mut caps = Caps::default();
    caps.set_secure(secure::NOROOT).unwrap();
    caps.exec(0, 0, false);
    assert_eq!(caps.permitted, 0);
}

#[test]
fn locks_hold() {
    let mut caps = Caps::default();
    caps.set_secure(secure::KEEP_CAPS << 1).unwrap();
    assert_eq!(caps.set_keep(true), Err(NotPermitted));
    assert_eq!(caps.set_secure(0), Err(NotPermitted));
    assert_eq!(caps.set_secure(secure::KEEP_CAPS << 1 | secure::KEEP_CAPS), Err(NotPermitted));
    assert_eq!(caps.set_secure(1 << 31), Err(NotPermitted));
    caps.set_secure(secure::KEEP_CAPS << 1 | secure::NO_SETUID_FIXUP).unwrap();
    caps.ids_changed(ROOT, USER);
    assert_eq!(caps.effective, ALL);
}

#[test]
fn the_file_system_id_moves_what_files_need() {
    let mut caps = Caps::default();
    caps.fsuid_changed(0, 5);
    assert!(!caps.has(cap::DAC_OVERRIDE) && caps.has(cap::SETUID));
    caps.fsuid_changed(5, 0);
    assert_eq!(caps.effective, ALL);
}

#[derive(Clone, Debug)]
enum Change {
    Set(u64, u64, u64),
    Ids([u32; 3]),
    Fsuid(bool),
    Exec(bool, u32),
    Drop(u32),
    Secure(u32),
    Raise(u32),
    Lower(u32),
}

fn changes() -> impl Strategy<Value = Change> {
    let mask = || any::<u64>().prop_map(|bits| bits & ALL);
    prop_oneof![
        (mask(), mask(), mask()).prop_map(|(a, b, c)| Change::Set(a & b, b, c)),
        any::<[bool; 3]>().prop_map(|ids| Change::Ids(ids.map(|is_root| if is_root { 0 } else { 1000 }))),
        any::<bool>().prop_map(Change::Fsuid),
        (any::<bool>(), 0..2u32).prop_map(|(is_set_id, id)| Change::Exec(is_set_id, id)),
        (0..50u32).prop_map(Change::Drop),
        (0..256u32).prop_map(Change::Secure),
        (0..50u32).prop_map(Change::Raise),
        (0..50u32).prop_map(Change::Lower),
    ]
}

proptest! {
    #[test]
    fn sets_stay_within_each_other(changes in proptest::collection::vec(changes(), 0..40)) {
        let mut caps = Caps::default();
        let mut ids = ROOT;
        for change in changes {
            let before = caps;
            match change {
                Change::Set(effective, permitted, inheritable) => {
                    let _ = caps.set(effective, permitted, inheritable);
                    prop_assert_eq!(caps.permitted & !before.permitted, 0);
                }
                Change::Ids([real, effective, saved]) => {
                    let new = Ids { real, effective, saved };
                    caps.ids_changed(ids, new);
                    ids = new;
                    prop_assert_eq!(caps.permitted & !before.permitted, 0);
                }
                Change::Fsuid(to_root) => {
                    caps.fsuid_changed(u32::from(to_root), u32::from(!to_root));
                }
                Change::Exec(is_set_id, id) => {
                    caps.exec(ids.real, id, is_set_id);
                }
                Change::Drop(capability) => {
                    let _ = caps.drop_bound(capability);
                }
                Change::Secure(bits) => {
                    if caps.set_secure(bits).is_ok() {
                        prop_assert_eq!(before.secure & secure::LOCKS & !caps.secure, 0);
                    }
                }
                Change::Raise(capability) => {
                    let _ = caps.raise_ambient(capability);
                }
                Change::Lower(capability) => caps.lower_ambient(capability),
            }
            prop_assert_eq!(caps.effective & !caps.permitted, 0);
            prop_assert_eq!(caps.ambient & !(caps.permitted & caps.inheritable), 0);
            prop_assert_eq!(caps.bounding & !before.bounding, 0);
            prop_assert_eq!((caps.permitted | caps.inheritable | caps.bounding) & !ALL, 0);
        }
    }
}
