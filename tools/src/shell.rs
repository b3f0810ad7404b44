//! Words as a shell reads them, for command lines that we print.
//!
//! Called by whatever shows a command that somebody may copy.

use std::path::Path;

/// A word that a shell takes as it is, also where it has spaces or other marks of the shell's.
fn shell_word(text: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./:@%+=,".contains(it);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// As [`shell_word`], for a path that no command takes for an option.
pub(crate) fn shell_path(path: &Path) -> String {
    let text = path.display().to_string();
    match text.starts_with('-') {
        true => shell_word(&format!("./{text}")),
        false => shell_word(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_back() {
        for text in ["plain-1.pub", "two words", "it's", "$HOME;`id`", "", "a\nb"] {
            let echo = format!("printf %s {}", shell_word(text));
            let mut shell = std::process::Command::new("sh");
            let output = shell.args(["-c", &echo]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        assert_eq!(shell_path(Path::new("a/b.pub")), "a/b.pub");
        assert_eq!(shell_path(Path::new("-i x")), "'./-i x'");
    }
}
