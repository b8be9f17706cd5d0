using System.CommandLine;
using System.Reflection;

namespace Vmm.Tool;

/// <summary>The commands that print what is made of the command tree: manual pages and completions for shells.</summary>
internal static class DocumentationCommands
{
    /// <summary><c>vmm completion</c>.</summary>
    /// <param name="root">Gives the whole tree.</param>
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command CreateCompletion(Func<RootCommand> root, bool carriesOut)
    {
        Argument<string> shell = new("SHELL") { Description = "bash, zsh or fish." };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        Command command = new("completion", "Print a completion for a shell. For bash: source <(vmm completion bash)") { shell };
        command.SetAction(parsed =>
        {
            if (!carriesOut) return ExitCode.Success;
            IReadOnlyList<CommandPage> pages = CommandPage.Of(root());
            Console.Out.Write(parsed.GetValue(shell) switch
            {
                "bash" => BashCompletion.Of(pages),
                "zsh" => ZshCompletion.Of(pages),
                _ => FishCompletion.Of(pages),
            });
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary><c>vmm manual</c>.</summary>
    /// <param name="root">Gives the whole tree.</param>
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command CreateManual(Func<RootCommand> root, bool carriesOut)
    {
        Argument<string?> page = new("PAGE")
        {
            Description = "A page such as vmm-serve; the list of all pages without it.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        Command command = new("manual", "Print a manual page, or the names of all. To read one: vmm manual vmm-serve | man -l -") { page };
        command.SetAction(parsed =>
        {
            IReadOnlyList<CommandPage> pages = CommandPage.Of(root());
            string? name = parsed.GetValue(page);
            CommandPage? found = pages.FirstOrDefault(candidate => candidate.Joined('-') == name);
            if (name is not null && found is null) throw new UsageException($"there is no manual page '{name}': 'vmm manual' lists them");
            if (!carriesOut) return ExitCode.Success;
            if (found is not null) Console.Out.Write(ManualPage.Of(found, pages, ToolVersion.Text));
            else foreach (CommandPage listed in pages) Console.Out.WriteLine(listed.Joined('-'));
            return ExitCode.Success;
        });
        return command;
    }
}
