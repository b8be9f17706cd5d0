using System.CommandLine;

namespace Vmm.Tool;

/// <summary>The commands of <c>vmm</c>.</summary>
internal static class CommandTree
{
    private const string Escape = "?";

    // A word that begins with '@' is a file's name like any other, and nothing to read options from: it could be a pipe that never ends.
    private static readonly ParserConfiguration Literal = new() { ResponseFileTokenReplacer = null };

    /// <summary>Does what a command line says.</summary>
    /// <param name="args">The command line.</param>
    /// <param name="invocation">Where its output and its complaints go.</param>
    /// <param name="carriesOut">False to look whether it makes sense, and no further: nothing is opened or started.</param>
    /// <returns>The process's exit code.</returns>
    internal static int Run(string[] args, InvocationConfiguration invocation, bool carriesOut = true)
    {
        ParseResult parsed = Parse(args, carriesOut);
        if (parsed.Errors.Count > 0)
        {
            Command named = parsed.CommandResult.Command;
            string command = named is RootCommand ? "vmm" : $"vmm {named.Name}";
            return Complain($"{parsed.Errors[0].Message} (see '{command} --help')", ExitCode.Usage);
        }
        try
        {
            return parsed.Invoke(invocation);
        }
        catch (UsageException usage)
        {
            return Complain(usage.Message, ExitCode.Usage);
        }
        catch (Exception world) when (ExitCode.IsWorld(world))
        {
            return Complain(world.Message, ExitCode.World);
        }

        int Complain(string sentence, int code)
        {
            invocation.Error.WriteLine($"vmm: {Printable(sentence)}");
            return code;
        }
    }

    /// <summary>Understands a command line. What is wrong with it is in the result.</summary>
    private static ParseResult Parse(string[] args, bool carriesOut)
    {
        // Half of a start is compiling what it runs. A boot that is spelled right needs one command, and neither help nor suggestions.
        if (args is ["boot", ..] && Array.IndexOf(args, "--help") < 0)
        {
            ParseResult boot = BootCommand.Create(carriesOut, carriesOut ? new EarlyStart() : null).Parse(args, Literal);
            if (boot.Errors.Count == 0) return boot;
        }
        RootCommand root = new("Hosts the devices of a virtual machine: for a simulated guest, for QEMU over vhost-user, or for KVM.")
        {
            RunCommand.Create(carriesOut),
            BootCommand.Create(carriesOut),
            ServeCommand.Create(carriesOut),
            BenchCommand.Create(carriesOut),
        };
        // No completion of a shell asks '[suggest]', and what answers it fails on lines that make no sense.
        root.Directives.Clear();
        return root.Parse(args, Literal);
    }

    /// <summary>What was typed is part of many sentences: it must not move the cursor, nor look like a second one.</summary>
    private static string Printable(string sentence) =>
        sentence.Any(char.IsControl) ? string.Concat(sentence.Select(letter => char.IsControl(letter) ? Escape : letter.ToString())) : sentence;
}
