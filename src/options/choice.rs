//! Some of the settings of `cim run`, for the commands that need no others: they are declared in [`super::args`] alone.

use std::fmt;
use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::args::{Given, OptionArgs};

/// Which settings they are. A setting is named as its flag is, with underscores.
pub trait Choice {
    /// What stands above them in the help; `None`: they are among the command's own options.
    const HEADING: Option<&'static str>;
    /// In the order of the help; with a text where the command has a shorter one than `cim run`.
    const SHOWN: &'static [(&'static str, Option<&'static str>)];
    /// Taken, and not in the help.
    const HIDDEN: &'static [&'static str];
}

/// The settings of a [`Choice`], for `#[command(flatten)]`.
pub struct Chosen<C> {
    /// What the command line and the environment say of them.
    pub given: Given,
    choice: PhantomData<C>,
}

impl<C: Choice> Chosen<C> {
    fn args() -> impl Iterator<Item = Arg> {
        let all = OptionArgs::augment_args(Command::new(""));
        let find = move |name: &str| {
            let found = all.get_arguments().find(|arg| arg.get_id() == name);
            debug_assert!(found.is_some(), "there is no setting {name}");
            // Their order is that of this choice.
            found.map(|arg| arg.clone().help_heading(C::HEADING).display_order(None))
        };
        let shown = C::SHOWN.iter().map(|(name, help)| (name, *help, false));
        let hidden = C::HIDDEN.iter().map(|name| (name, None, true));
        shown.chain(hidden).filter_map(move |(name, help, hide)| {
            let arg = find(name)?.hide(hide);
            Some(match help {
                Some(help) => arg.help(help),
                None => arg,
            })
        })
    }
}

impl<C: Choice> Args for Chosen<C> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::args())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<C> FromArgMatches for Chosen<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self {
            given: Given::from_matches(matches),
            choice: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.given = Given::from_matches(matches);
        Ok(())
    }
}

/// Without the values: there may be a password in an address.
impl<C> fmt::Debug for Chosen<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").finish_non_exhaustive()
    }
}
