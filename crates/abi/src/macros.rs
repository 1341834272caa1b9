//! How flag sets and enumerations of the ABI are declared: the constants once, names and strace's notation from them.

use core::fmt;

/// A constant's name as C spells it, and its value.
pub type Named = (&'static str, u64);

/// Writes `A|B|0x40` as strace does; `zero` in front if no bit of `field` is set.
pub(crate) fn write_set(
    f: &mut fmt::Formatter<'_>,
    bits: u64,
    names: &[Named],
    field: u64,
    zero: &str,
) -> fmt::Result {
    let mut separator = "";
    if bits & field == 0 {
        f.write_str(zero)?;
        separator = "|";
    }
    let mut rest = bits;
    for &(name, value) in names {
        if value != 0 && bits & value == value && rest & value != 0 {
            write!(f, "{separator}{name}")?;
            separator = "|";
            rest &= !value;
        }
    }
    if rest == 0 { Ok(()) } else { write!(f, "{separator}{rest:#x}") }
}

/// The name of a value.
pub(crate) fn name_of(value: u64, names: &[Named]) -> Option<&'static str> {
    names.iter().find(|&&(_, v)| v == value).map(|&(name, _)| name)
}

macro_rules! c_name {
    ($prefix:literal, $name:ident) => {
        concat!($prefix, stringify!($name))
    };
    ($prefix:literal, $name:ident, $c_name:literal) => {
        $c_name
    };
}
pub(crate) use c_name;

macro_rules! field {
    () => {
        u64::MAX
    };
    ($mask:literal) => {
        $mask
    };
}
pub(crate) use field;

/// A set of flags: `from_bits_retain` takes it from a register, `Display` prints as strace does, `NAMES` lists the constants.
///
/// `"PREFIX_", "ZERO"`: what C puts before the names, and what an empty set is called (with `in MASK`: an empty field of it).
/// A flag whose name in C can't be made by the prefix gives it in parentheses.
macro_rules! flags {
    ($(#[$meta:meta])* pub struct $name:ident: $bits:ty, $prefix:literal, $zero:literal $(in $field:literal)? {
        $($(#[$($flag_meta:tt)*])* $flag:ident $(($c_name:literal))? = $value:expr,)*
    }) => {
        bitflags::bitflags! {
            $(#[$meta])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $name: $bits {
                $($(#[$($flag_meta)*])* const $flag = $value;)*
            }
        }

        impl $name {
            /// The constants, as C names them.
            pub const NAMES: &'static [$crate::Named] = &[$(($crate::macros::c_name!($prefix, $flag $(, $c_name)?), $value)),*];
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let field = $crate::macros::field!($($field)?);
                $crate::macros::write_set(f, self.bits().into(), Self::NAMES, field, $zero)
            }
        }
    };
}
pub(crate) use flags;

/// A number with named values: any number can be held, `name` and `Display` know the named ones, `NAMES` lists them.
macro_rules! values {
    ($(#[$meta:meta])* pub struct $name:ident: $repr:ty, $prefix:literal {
        $($(#[$value_meta:meta])* $value_name:ident = $value:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub $repr);

        impl $name {
            $($(#[$value_meta])* pub const $value_name: Self = Self($value);)*

            /// The constants, as C names them.
            #[allow(clippy::cast_sign_loss, clippy::cast_lossless, reason = "compared bit by bit")]
            pub const NAMES: &'static [$crate::Named] =
                &[$((concat!($prefix, stringify!($value_name)), $value as $repr as u64)),*];

            /// The name in C, if it has one.
            #[allow(clippy::cast_sign_loss, clippy::cast_lossless, reason = "compared bit by bit")]
            pub fn name(self) -> Option<&'static str> {
                $crate::macros::name_of(self.0 as u64, Self::NAMES)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }
    };
}
pub(crate) use values;
