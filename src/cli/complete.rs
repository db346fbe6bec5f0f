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

/// The manual page in roff: one for all commands, each with a section of its own.
pub(super) fn manual(mut command: Command) -> Vec<u8> {
    // With the names of the commands above each one.
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = man.render_title(&mut page);
    let _ = man.render_name_section(&mut page);
    let _ = man.render_synopsis_section(&mut page);
    of_commands(&command, &mut page);
    if let Some(more) = command.get_after_help() {
        let more = verbatim(&more.to_string());
        let section = format!(".SH EXAMPLES, SIGNALS, EXIT CODES\n.nf\n{more}.fi\n");
        page.extend_from_slice(section.as_bytes());
    }
    page
}

fn of_commands(command: &Command, page: &mut Vec<u8>) {
    for one in command.get_subcommands() {
        let name = one.get_bin_name().unwrap_or_else(|| one.get_name());
        let man = clap_mangen::Man::new(one.clone());
        let mut section = Vec::new();
        let _ = man.render_description_section(&mut section);
        let _ = man.render_options_section(&mut section);
        let text = String::from_utf8_lossy(&section);
        let text = text
            .replacen(".SH DESCRIPTION\n", "", 1)
            .replace(".SH ", ".SS ");
        let title = verbatim(&name.to_uppercase());
        page.extend_from_slice(format!(".SH {title}{text}").as_bytes());
        of_commands(one, page);
    }
}

/// Lines that roff prints as they are.
fn verbatim(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(&line.replace('\\', "\\\\").replace('-', "\\-"));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roff_takes_no_line_for_a_request() {
        assert_eq!(verbatim(".x\n'y\na-b\\c"), "\\&.x\n\\&'y\na\\-b\\\\c\n");
    }
}
