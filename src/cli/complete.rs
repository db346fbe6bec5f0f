//! `cim completions` and `cim man`: both are made from the same description of the command line as `--help`.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

/// `cim completions`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellArg,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

/// The script for a shell.
pub(super) fn completions(args: &CompletionArgs, mut command: Command) -> Vec<u8> {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cim", &mut script);
    script
}

/// The manual page in roff: that of `cim`, and behind it one section for each command.
pub(super) fn manual(mut command: Command) -> Vec<u8> {
    // With the names of the commands above each one.
    command.build();
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = clap_mangen::Man::new(command.clone()).render(&mut page);
    of_commands(&command, &mut page);
    page
}

fn of_commands(command: &Command, page: &mut Vec<u8>) {
    for one in command.get_subcommands() {
        let name = one.get_bin_name().unwrap_or_else(|| one.get_name());
        let title = format!(".SH {}\n", name.to_uppercase());
        page.extend_from_slice(title.as_bytes());
        let man = clap_mangen::Man::new(one.clone());
        let mut section = Vec::new();
        let _ = man.render_description_section(&mut section);
        let _ = man.render_synopsis_section(&mut section);
        let _ = man.render_options_section(&mut section);
        // Within the section of their command.
        page.extend_from_slice(
            String::from_utf8_lossy(&section)
                .replace(".SH ", ".SS ")
                .as_bytes(),
        );
        of_commands(one, page);
    }
}
