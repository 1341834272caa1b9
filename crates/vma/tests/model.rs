//! The map against a naive model that knows each page by itself.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use vma::{
    Backing, Holes, LOWEST, Limits, MAX_REGIONS, MapError, PAGE_SIZE, Place, Remap, RemapTarget, STACK_GAP,
    USER_TOP, Vma, VmaFlags, VmaMap,
};

/// Anonymous memory, or an object from a page on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Anonymous,
    Object(u8, u64),
}

impl Backing for Kind {
    fn advanced(&self, pages: u64) -> Self {
        match *self {
            Self::Anonymous => Self::Anonymous,
            Self::Object(id, page) => Self::Object(id, page + pages),
        }
    }
    fn continues(&self, pages: u64, next: &Self) -> bool {
        self.advanced(pages) == *next
    }
    fn is_anonymous(&self) -> bool {
        *self == Self::Anonymous
    }
}

type Pages = BTreeMap<usize, (VmaFlags, Kind)>;

const BASE: usize = 0x10_0000;
const WINDOW: usize = 48;
const TOP: usize = BASE + WINDOW * PAGE_SIZE;
const RW: VmaFlags = VmaFlags::READ.union(VmaFlags::WRITE).union(VmaFlags::MAY_WRITE);

fn pages_of(regions: impl Iterator<Item = Vma<Kind>>) -> Pages {
    let mut pages = Pages::new();
    for region in regions {
        for page in region.range().step_by(PAGE_SIZE) {
            let before = pages.insert(page, (region.flags, region.backing_at(page)));
            assert_eq!(before, None, "two regions at {page:#x}");
        }
    }
    pages
}

/// Pages taken out of the model.
fn take(model: &mut Pages, range: Range<usize>) -> Pages {
    let keys: Vec<_> = model.range(range).map(|(&page, _)| page).collect();
    keys.into_iter().filter_map(|page| Some((page, model.remove(&page)?))).collect()
}

/// What must hold after every operation.
fn check(map: &VmaMap<Kind>, model: &Pages) {
    assert_eq!(&pages_of(map.iter().cloned()), model);
    let regions: Vec<_> = map.iter().collect();
    assert_eq!(regions.len(), map.count());
    for pair in regions.windows(2) {
        let (low, high) = (pair[0], pair[1]);
        assert!(low.end <= high.start);
        let same = low.end == high.start
            && low.flags == high.flags
            && low.backing.continues((low.len() / PAGE_SIZE) as u64, &high.backing);
        assert!(!same || high.flags.contains(VmaFlags::GROWS_DOWN), "not merged: {low:x?} {high:x?}");
    }
    let bytes =
        |pick: fn(VmaFlags) -> bool| model.values().filter(|(flags, _)| pick(*flags)).count() * PAGE_SIZE;
    let usage = map.usage();
    assert_eq!(usage.total, model.len() * PAGE_SIZE);
    assert_eq!(usage.data, bytes(VmaFlags::is_data));
    assert_eq!(usage.stack, bytes(|flags| flags.contains(VmaFlags::GROWS_DOWN)));
}

#[derive(Clone, Debug)]
enum Op {
    Map { page: usize, len: usize, flags: VmaFlags, kind: Kind, fixed: bool },
    Place { len: usize, flags: VmaFlags, align: usize, hint: Option<usize> },
    Unmap { page: usize, len: usize },
    Protect { page: usize, len: usize, access: u32 },
    Advise { page: usize, len: usize, on: bool },
    Remap { page: usize, old_len: usize, new_len: usize, to: Option<usize>, keep: bool, may_move: bool },
    GrowStack { page: usize },
}

fn flags() -> impl Strategy<Value = VmaFlags> {
    (0u32..8, any::<bool>(), 0u32..10).prop_map(|(access, shared, stack)| {
        let mut flags = VmaFlags::from_bits_retain(access) | VmaFlags::MAY_WRITE;
        flags.set(VmaFlags::SHARED, shared);
        flags.set(VmaFlags::GROWS_DOWN, stack == 0 && !shared);
        flags
    })
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        3 => Just(Kind::Anonymous),
        // Objects mapped at matching offsets, so that they merge often.
        2 => (0u8..2, 0u64..3).prop_map(|(id, page)| Kind::Object(id, page)),
    ];
    let page = 0..WINDOW;
    let len = 1usize..10;
    prop_oneof![
        4 => (page.clone(), len.clone(), flags(), kind, any::<bool>())
            .prop_map(|(page, len, flags, kind, fixed)| Op::Map { page, len, flags, kind, fixed }),
        3 => (len.clone(), flags(), 0u32..3, proptest::option::of(page.clone()))
            .prop_map(|(len, flags, align, hint)| Op::Place { len, flags, align: PAGE_SIZE << align, hint }),
        4 => (page.clone(), 0usize..10).prop_map(|(page, len)| Op::Unmap { page, len }),
        3 => (page.clone(), len.clone(), 0u32..8).prop_map(|(page, len, access)| Op::Protect { page, len, access }),
        1 => (page.clone(), len.clone(), any::<bool>()).prop_map(|(page, len, on)| Op::Advise { page, len, on }),
        3 => (page.clone(), 0usize..8, len, proptest::option::of(page.clone()), any::<bool>(), any::<bool>())
            .prop_map(|(page, old_len, new_len, to, keep, may_move)| Op::Remap { page, old_len, new_len, to, keep, may_move }),
        1 => page.prop_map(|page| Op::GrowStack { page }),
    ]
}

fn at(page: usize) -> usize {
    BASE + page * PAGE_SIZE
}

/// Start of the stack whose guard gap an address lies in or above, as the model sees it.
fn is_guarded(map: &VmaMap<Kind>, range: &Range<usize>) -> bool {
    let mut next = map.iter().filter(|region| region.start >= range.end);
    next.next().is_some_and(|region| {
        region.flags.contains(VmaFlags::GROWS_DOWN) && region.start.saturating_sub(STACK_GAP) < range.end
    })
}

/// The place by trying every address.
fn naive_place(map: &VmaMap<Kind>, model: &Pages, len: usize, align: usize) -> Option<usize> {
    let free = |start: usize| {
        let range = start..start + len;
        model.range(range.clone()).next().is_none() && !is_guarded(map, &range)
    };
    (LOWEST..=TOP - len)
        .rev()
        .filter(|start| start.is_multiple_of(align))
        .find(|&start| start.is_multiple_of(PAGE_SIZE) && free(start))
}

/// Low enough for the search of every address to be quick.
fn run(ops: &[Op]) {
    let mut map = VmaMap::new(TOP);
    let mut model = Pages::new();
    for op in ops {
        step(&mut map, &mut model, op);
        check(&map, &model);
    }
}

fn step(map: &mut VmaMap<Kind>, model: &mut Pages, op: &Op) {
    match op.clone() {
        Op::Map { page, len, flags, kind, fixed } => {
            let (start, len) = (at(page), len * PAGE_SIZE);
            let range = start..start + len;
            let occupied = model.range(range.clone()).next().is_some();
            let place = if fixed { Place::Fixed(start) } else { Place::FixedNoReplace(start) };
            let mut gone = Vec::new();
            let result = map
                .map(place, len, PAGE_SIZE, flags, kind.clone(), &Limits::NONE, |region| gone.push(region));
            if occupied && !fixed {
                assert_eq!(result, Err(MapError::Occupied));
                return;
            }
            assert_eq!(result, Ok(start));
            assert_eq!(pages_of(gone.into_iter()), take(model, range));
            model.extend(pages_of([Vma { start, end: start + len, flags, backing: kind }].into_iter()));
        }
        Op::Place { len, flags, align, hint } => {
            let len = len * PAGE_SIZE;
            let hint = hint.map_or(0, at);
            let at_hint = hint != 0 && {
                let range = hint..hint + len;
                model.range(range.clone()).next().is_none() && !is_guarded(map, &range)
            };
            let expected = if at_hint { Some(hint) } else { naive_place(map, model, len, align) };
            let place = Place::Anywhere(hint + usize::from(hint != 0) * 7);
            let result = map.map(place, len, align, flags, Kind::Anonymous, &Limits::NONE, |_| panic!());
            match expected {
                Some(start) => {
                    assert_eq!(result, Ok(start));
                    let region = Vma { start, end: start + len, flags, backing: Kind::Anonymous };
                    model.extend(pages_of([region].into_iter()));
                }
                None => {
                    // From the bottom up, above the top.
                    let start = result.expect("there is room above");
                    assert!(start >= TOP && start.is_multiple_of(align));
                    assert!(model.range(start..start + len).next().is_none());
                    map.remove(start..start + len, |_| {}).unwrap();
                }
            }
        }
        Op::Unmap { page, len } => {
            let range = at(page)..at(page + len);
            let mut gone = Vec::new();
            map.remove(range.clone(), |region| gone.push(region)).unwrap();
            assert!(gone.windows(2).all(|pair| pair[0].end <= pair[1].start));
            assert_eq!(pages_of(gone.into_iter()), take(model, range));
        }
        Op::Protect { page, len, access } => {
            let range = at(page)..at(page + len);
            let access = VmaFlags::from_bits_retain(access);
            let mut told = Vec::new();
            let result = map.protect(range.clone(), access, &Limits::NONE, |piece, old, new| {
                told.push((piece, old, new));
            });
            let mut expected = Ok(());
            let mut changed = Vec::new();
            for page in range.step_by(PAGE_SIZE) {
                let Some((flags, _)) = model.get_mut(&page) else {
                    expected = Err(MapError::NoMemory);
                    break;
                };
                let new = flags.difference(VmaFlags::ACCESS) | access;
                if new != *flags {
                    changed.push((page, *flags, new));
                    *flags = new;
                }
            }
            assert_eq!(result, expected);
            let told: Vec<_> = told
                .into_iter()
                .flat_map(|(piece, old, new)| piece.step_by(PAGE_SIZE).map(move |page| (page, old, new)))
                .collect();
            assert_eq!(told, changed);
        }
        Op::Advise { page, len, on } => {
            let range = at(page)..at(page + len);
            let result = map.change(
                range.clone(),
                Holes::Skip,
                |region| {
                    let mut flags = region.flags;
                    flags.set(VmaFlags::DONT_FORK, on);
                    Ok(flags)
                },
                |_, _, _| {},
            );
            let complete = range.clone().step_by(PAGE_SIZE).all(|page| model.contains_key(&page));
            assert_eq!(result, if complete { Ok(()) } else { Err(MapError::NoMemory) });
            for (flags, _) in model.range_mut(range).map(|(_, value)| value) {
                flags.set(VmaFlags::DONT_FORK, on);
            }
        }
        Op::Remap { page, old_len, new_len, to, keep, may_move } => {
            let target = match (to, keep, may_move) {
                (Some(to), false, _) => RemapTarget::Fixed(at(to)),
                (Some(to), true, _) => RemapTarget::Keep(Place::Fixed(at(to))),
                (None, true, true) => RemapTarget::Keep(Place::Anywhere(0)),
                (None, _, true) => RemapTarget::MayMove,
                (None, _, false) => RemapTarget::InPlace,
            };
            if old_len == 0 && to == Some(page) {
                return;
            }
            remap(map, model, at(page), old_len * PAGE_SIZE, new_len * PAGE_SIZE, target);
        }
        Op::GrowStack { page } => {
            let address = at(page) + 123;
            let result = map.grow_stack(address, 16 * PAGE_SIZE, &Limits::NONE);
            if let Ok(range) = result {
                assert_eq!(range.start, at(page));
                let (flags, kind) = model[&range.end].clone();
                assert!(flags.contains(VmaFlags::GROWS_DOWN) && kind == Kind::Anonymous);
                assert!(model.range(range.clone()).next().is_none());
                for page in range.step_by(PAGE_SIZE) {
                    model.insert(page, (flags, Kind::Anonymous));
                }
            }
        }
    }
}

fn remap(
    map: &mut VmaMap<Kind>,
    model: &mut Pages,
    old: usize,
    old_len: usize,
    new_len: usize,
    target: RemapTarget,
) {
    let before = model.clone();
    let region = map.find(old).cloned();
    let request = Remap { old, old_len, new_len, target };
    let mut gone = Vec::new();
    let mut moves = Vec::new();
    let result = map.remap(
        &request,
        &Limits::NONE,
        |region| gone.push(region),
        |from, to| {
            moves.push((from, to));
            Ok(())
        },
    );
    let Ok(new) = result else {
        // Only a fixed target may be gone already; here every refusal comes first.
        assert!(gone.is_empty() && moves.is_empty());
        assert_eq!(pages_of(map.iter().cloned()), before);
        return;
    };
    let region = region.expect("something was there");
    let gone = pages_of(gone.into_iter());
    let stays = matches!(target, RemapTarget::InPlace | RemapTarget::MayMove);
    if stays && new_len <= old_len {
        assert_eq!((new, moves.len()), (old, 0));
        assert_eq!(gone, take(model, old + new_len..old + old_len));
        return;
    }
    assert!(old_len != 0 || region.flags.contains(VmaFlags::SHARED));
    assert!(region.end >= old + old_len.min(new_len));
    let is_fixed = match target {
        RemapTarget::Fixed(to) | RemapTarget::Keep(Place::Fixed(to)) => {
            assert_eq!(new, to);
            true
        }
        _ => false,
    };
    let mut flags = region.flags;
    if new == old {
        assert!(stays && moves.is_empty() && gone.is_empty());
    } else {
        assert!(target != RemapTarget::InPlace);
        assert_eq!(moves, [(old..old + old_len.min(new_len), new)]);
        let mut expected = if is_fixed { take(model, new..new + new_len) } else { Pages::new() };
        if !matches!(target, RemapTarget::Keep(_)) {
            expected.extend(take(model, old..old + old_len));
        }
        assert_eq!(gone, expected);
        flags.remove(VmaFlags::HEAP | VmaFlags::STACK);
    }
    for page in (0..new_len).step_by(PAGE_SIZE) {
        model.insert(new + page, (flags, region.backing_at(old + page)));
    }
    if new >= TOP {
        // Out of the window that the search of every address covers.
        take(model, new..new + new_len);
        map.remove(new..new + new_len, |_| {}).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_a_table_of_pages(ops in proptest::collection::vec(op(), 1..60)) {
        run(&ops);
    }

    #[test]
    fn limits_hold(lens in proptest::collection::vec(1usize..9, 1..30), total in 1usize..60, data in 1usize..40) {
        let limits = Limits { total: total * PAGE_SIZE, data: data * PAGE_SIZE };
        let mut map = VmaMap::new(TOP);
        for (index, len) in lens.into_iter().enumerate() {
            let flags = if index % 2 == 0 { RW } else { VmaFlags::READ };
            let before = map.usage();
            let result = map.map(Place::Anywhere(0), len * PAGE_SIZE, PAGE_SIZE, flags, Kind::Anonymous, &limits, |_| {});
            let fits = before.total + len * PAGE_SIZE <= limits.total
                && (!flags.is_data() || before.data + len * PAGE_SIZE <= limits.data);
            prop_assert_eq!(result.is_ok(), fits);
            prop_assert!(map.usage().total <= limits.total && map.usage().data <= limits.data);
        }
    }
}

fn anonymous(map: &mut VmaMap<Kind>, place: Place, len: usize, flags: VmaFlags) -> Result<usize, MapError> {
    map.map(place, len, PAGE_SIZE, flags, Kind::Anonymous, &Limits::NONE, |_| {})
}

#[test]
fn arguments_have_edges() {
    let mut map = VmaMap::new(0x7fff_f7ff_f000);
    let mut try_map = |place, len| anonymous(&mut map, place, len, RW);
    assert_eq!(try_map(Place::Anywhere(0), 0), Err(MapError::Invalid));
    assert_eq!(try_map(Place::Anywhere(0), 4097), Err(MapError::Invalid));
    assert_eq!(try_map(Place::Anywhere(0), !(PAGE_SIZE - 1)), Err(MapError::NoMemory));
    assert_eq!(try_map(Place::Anywhere(usize::MAX), PAGE_SIZE), Ok(0x7fff_f7ff_e000));
    assert_eq!(try_map(Place::Fixed(LOWEST + 1), PAGE_SIZE), Err(MapError::Invalid));
    assert_eq!(try_map(Place::Fixed(0), PAGE_SIZE), Err(MapError::TooLow));
    assert_eq!(try_map(Place::Fixed(LOWEST - PAGE_SIZE), PAGE_SIZE), Err(MapError::TooLow));
    assert_eq!(try_map(Place::Fixed(USER_TOP), PAGE_SIZE), Err(MapError::NoMemory));
    assert_eq!(try_map(Place::Fixed(!(PAGE_SIZE - 1)), PAGE_SIZE), Err(MapError::NoMemory));
    assert_eq!(try_map(Place::Fixed(USER_TOP - PAGE_SIZE), PAGE_SIZE), Ok(USER_TOP - PAGE_SIZE));
    assert_eq!(try_map(Place::Anywhere(1), PAGE_SIZE), Ok(0x7fff_f7ff_d000));
    assert_eq!(try_map(Place::Anywhere(PAGE_SIZE), PAGE_SIZE), Ok(LOWEST));
    assert_eq!(try_map(Place::Low(0), PAGE_SIZE), Ok(0x4000_0000));
    assert_eq!(try_map(Place::Low(0x5000_0123), PAGE_SIZE), Ok(0x5000_0000));
    assert_eq!(try_map(Place::Low(0x7fff_f000), 2 * PAGE_SIZE), Ok(0x4000_1000));
    assert_eq!(try_map(Place::Low(0), 0x4000_0000), Err(MapError::NoMemory));
}

#[test]
fn top_down_search_falls_back_to_the_space_above() {
    let top = LOWEST + 4 * PAGE_SIZE;
    let mut map = VmaMap::new(top);
    assert_eq!(anonymous(&mut map, Place::Anywhere(0), 3 * PAGE_SIZE, RW), Ok(LOWEST + PAGE_SIZE));
    assert_eq!(anonymous(&mut map, Place::Anywhere(0), 2 * PAGE_SIZE, RW), Ok(top));
    assert_eq!(anonymous(&mut map, Place::Anywhere(0), PAGE_SIZE, RW), Ok(LOWEST));
    assert_eq!(
        anonymous(&mut map, Place::Anywhere(0), USER_TOP - top - 2 * PAGE_SIZE, RW),
        Ok(top + 2 * PAGE_SIZE)
    );
    assert_eq!(anonymous(&mut map, Place::Anywhere(0), PAGE_SIZE, RW), Err(MapError::NoMemory));
    assert_eq!(map.count(), 1);
    assert!(map.is_covered(LOWEST..USER_TOP));
}

#[test]
fn stacks_keep_their_distance() {
    let stack = VmaFlags::GROWS_DOWN | RW;
    let mut map = VmaMap::new(TOP + 4096 * PAGE_SIZE);
    let start = TOP + 2000 * PAGE_SIZE;
    anonymous(&mut map, Place::Fixed(start), 4 * PAGE_SIZE, stack).unwrap();
    // The search and hints keep out of the guard gap; a fixed mapping doesn't.
    assert_eq!(
        map.place(Place::Anywhere(start - PAGE_SIZE), PAGE_SIZE, PAGE_SIZE),
        Ok(map.mmap_top() - PAGE_SIZE)
    );
    assert_eq!(
        map.place(Place::Anywhere(start - STACK_GAP - PAGE_SIZE), PAGE_SIZE, PAGE_SIZE),
        Ok(start - STACK_GAP - PAGE_SIZE)
    );
    assert_eq!(
        map.place(Place::FixedNoReplace(start - PAGE_SIZE), PAGE_SIZE, PAGE_SIZE),
        Ok(start - PAGE_SIZE)
    );
    // It grows to its limit.
    assert_eq!(map.grow_stack(start - 1, 6 * PAGE_SIZE, &Limits::NONE), Ok(start - PAGE_SIZE..start));
    assert_eq!(map.grow_stack(start - 3 * PAGE_SIZE, 6 * PAGE_SIZE, &Limits::NONE), Err(MapError::NotMapped));
    assert_eq!(map.usage().stack, 5 * PAGE_SIZE);
    let full = Limits { total: 5 * PAGE_SIZE, ..Limits::NONE };
    assert_eq!(map.grow_stack(start - 2 * PAGE_SIZE, 6 * PAGE_SIZE, &full), Err(MapError::NotMapped));
    // Something accessible below keeps the gap free, an inaccessible region doesn't.
    let below = start - PAGE_SIZE - STACK_GAP - 2 * PAGE_SIZE;
    anonymous(&mut map, Place::Fixed(below), PAGE_SIZE, RW).unwrap();
    assert_eq!(
        map.grow_stack(start - 2 * PAGE_SIZE, usize::MAX, &Limits::NONE),
        Ok(start - 2 * PAGE_SIZE..start - PAGE_SIZE)
    );
    assert_eq!(map.grow_stack(start - 3 * PAGE_SIZE, usize::MAX, &Limits::NONE), Err(MapError::NotMapped));
    map.protect(below..below + PAGE_SIZE, VmaFlags::empty(), &Limits::NONE, |_, _, _| {}).unwrap();
    assert!(map.grow_stack(start - 3 * PAGE_SIZE, usize::MAX, &Limits::NONE).is_ok());
    // What lies above no stack isn't one, and a mapped address isn't below one.
    assert_eq!(map.grow_stack(start, usize::MAX, &Limits::NONE), Err(MapError::NotMapped));
    assert_eq!(map.grow_stack(below - 1, usize::MAX, &Limits::NONE), Err(MapError::NotMapped));
    assert_eq!(map.grow_stack(USER_TOP, usize::MAX, &Limits::NONE), Err(MapError::NotMapped));
}

#[test]
fn a_failed_move_leaves_no_trace() {
    let mut map = VmaMap::new(TOP);
    anonymous(&mut map, Place::Fixed(BASE), 2 * PAGE_SIZE, RW).unwrap();
    anonymous(&mut map, Place::Fixed(BASE + 2 * PAGE_SIZE), PAGE_SIZE, VmaFlags::READ).unwrap();
    let before: Vec<_> = map.iter().cloned().collect();
    let request =
        Remap { old: BASE, old_len: 2 * PAGE_SIZE, new_len: 3 * PAGE_SIZE, target: RemapTarget::MayMove };
    let result = map.remap(&request, &Limits::NONE, |_| panic!(), |_, _| Err(MapError::NoMemory));
    assert_eq!(result, Err(MapError::NoMemory));
    assert_eq!(map.iter().cloned().collect::<Vec<_>>(), before);
    let tight = Limits { total: 3 * PAGE_SIZE, ..Limits::NONE };
    assert_eq!(map.remap(&request, &tight, |_| panic!(), |_, _| panic!()), Err(MapError::NoMemory));
}

#[test]
fn special_regions_stay_where_they_are() {
    let mut map = VmaMap::new(TOP);
    anonymous(&mut map, Place::Fixed(BASE), PAGE_SIZE, VmaFlags::READ | VmaFlags::SPECIAL).unwrap();
    let request =
        Remap { old: BASE, old_len: PAGE_SIZE, new_len: 2 * PAGE_SIZE, target: RemapTarget::MayMove };
    assert_eq!(map.remap(&request, &Limits::NONE, |_| {}, |_, _| Ok(())), Err(MapError::Invalid));
    let denied = map.protect(BASE..BASE + PAGE_SIZE, RW, &Limits::NONE, |_, _, _| {});
    assert_eq!(denied, Err(MapError::Denied));
}

#[test]
fn the_number_of_regions_is_bounded() {
    let mut map = VmaMap::new(USER_TOP);
    let start = 0x1000_0000;
    let mut made = 0;
    let error = loop {
        // Every second page: nothing merges.
        match anonymous(&mut map, Place::Fixed(start + made * 2 * PAGE_SIZE), PAGE_SIZE, RW) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, made), (MapError::NoMemory, MAX_REGIONS + 1));
    let end = start + made * 2 * PAGE_SIZE;
    map.remove(end - 8 * PAGE_SIZE..end, |_| {}).unwrap();
    anonymous(&mut map, Place::Fixed(end), 3 * PAGE_SIZE, RW).unwrap();
    for more in 2.. {
        if map.count() == MAX_REGIONS {
            break;
        }
        anonymous(&mut map, Place::Fixed(end + more * 2 * PAGE_SIZE), PAGE_SIZE, RW).unwrap();
    }
    // A hole and a change in the middle need more than there may be; cutting an end off doesn't.
    let middle = end + PAGE_SIZE..end + 2 * PAGE_SIZE;
    assert_eq!(map.remove(middle.clone(), |_| panic!()), Err(MapError::NoMemory));
    assert_eq!(
        map.protect(middle, VmaFlags::READ, &Limits::NONE, |_, _, _| panic!()),
        Err(MapError::NoMemory)
    );
    assert_eq!(map.count(), MAX_REGIONS);
    map.remove(end..end + PAGE_SIZE, |_| {}).unwrap();
    let copy = map.try_clone().unwrap();
    assert_eq!(copy.count(), map.count());
    assert_eq!(copy.usage(), map.usage());
}
