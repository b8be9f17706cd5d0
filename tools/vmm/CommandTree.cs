using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Microsoft.Extensions.Logging;

namespace Vmm.Tool;

/// <summary>The commands of <c>vmm</c>.</summary>
internal static class CommandTree
{
    /// <summary>What the narrowest terminal shows, and a pipe gets too.</summary>
    private const int HelpColumns = 80;

    // A word that begins with '@' is a file's name like any other, and nothing to read options from: it could be a pipe that never ends.
    private static readonly ParserConfiguration Literal = new() { ResponseFileTokenReplacer = null };

    /// <summary>Does what a command line says.</summary>
    /// <param name="args">The command line.</param>
    /// <param name="invocation">Where its output and its complaints go.</param>
    /// <param name="carriesOut">False to look whether it makes sense, and no further: nothing is opened or started.</param>
    /// <returns>The process's exit code.</returns>
    internal static int Run(string[] args, InvocationConfiguration invocation, bool carriesOut = true)
    {
        args = AsMeant(args);
        ParseResult parsed = Parse(Create(carriesOut), args);
        string? file = carriesOut ? ConfigOption.PathIn(parsed) : null;
        if (FirstError(parsed, file) is { } wrong) return Complain(wrong, ExitCode.Usage);
        try
        {
            if (carriesOut) StandardStreams.Check();
            return file is null ? parsed.Invoke(invocation) : ConfigFile.Read(file).Invoke(args, invocation);
        }
        catch (ConfigException config)
        {
            foreach (string mistake in config.Mistakes) invocation.Error.WriteLine(Printable.Of(mistake));
            return ExitCode.Usage;
        }
        catch (UsageException usage)
        {
            return Complain(usage.Message, ExitCode.Usage);
        }
        catch (FileNotFoundException lost) when (lost.FileName is null)
        {
            // What the runtime says of getcwd(2).
            return Complain("the directory that this was started in has been removed: change to another one (cd)", ExitCode.World);
        }
        catch (OutOfMemoryException)
        {
            return Complain("this process gets no more memory or threads: raise its limits (ulimit -v and -u, MemoryMax= and TasksMax= "
                + "of a unit, --pids-limit of a container)", ExitCode.World);
        }
        catch (Exception world) when (ExitCode.IsWorld(world))
        {
            return Complain(world.Message, ExitCode.World);
        }

        int Complain(string sentence, int code)
        {
            if (carriesOut) StandardError.Say(LogLevel.Error, Printable.Of(sentence));
            else invocation.Error.WriteLine($"vmm: {Printable.Of(sentence)}");
            return code;
        }
    }

    /// <summary>Makes the commands.</summary>
    /// <param name="carriesOut">False for commands that look whether a command line makes sense, and no further.</param>
    internal static RootCommand Create(bool carriesOut)
    {
        RootCommand root = null!;
        root = new RootCommand("Hosts the devices of a virtual machine: for a simulated guest, for QEMU over vhost-user, or for KVM.")
        {
            RunCommand.Create(carriesOut),
            BootCommand.Create(carriesOut),
            ServeCommand.Create(carriesOut),
            CtlCommand.Create(carriesOut),
            TopCommand.Create(carriesOut),
            DiscoverCommand.Create(carriesOut),
            StateCommand.Create(carriesOut),
            ConfigCommands.CreateStart(carriesOut),
            ConfigCommands.CreateCheck(carriesOut),
            ConfigCommands.CreateConfig(() => root, carriesOut),
            BenchCommand.Create(carriesOut),
            DoctorCommand.Create(carriesOut),
            DocumentationCommands.CreateCompletion(() => root, carriesOut),
            DocumentationCommands.CreateManual(() => root, carriesOut),
        };
        RefuseEmpty(root);
        foreach (HelpOption help in root.Options.OfType<HelpOption>()) ((HelpAction)help.Action!).MaxWidth = HelpColumns;
        // No completion of a shell asks '[suggest]', and what answers it fails on lines that make no sense.
        root.Directives.Clear();
        return root;
    }

    /// <summary>Has arguments refuse an empty text, as <see cref="TextOption"/> does for options.</summary>
    private static void RefuseEmpty(Command command)
    {
        foreach (Argument argument in command.Arguments.Where(argument => argument.ValueType != typeof(bool)))
        {
            argument.Validators.Add(result =>
            {
                if (result.Tokens.Any(token => token.Value.Length == 0))
                    result.AddError($"{argument.Name} '': {TextOption.Empty(argument.Name)}");
            });
        }
        foreach (Command inner in command.Subcommands) RefuseEmpty(inner);
    }

    /// <summary>Understands a command line. What is wrong with it is in the result.</summary>
    internal static ParseResult Parse(RootCommand root, IReadOnlyList<string> args) => root.Parse(args, Literal);

    /// <summary>What is wrong with a command line, and where to look; null for nothing.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="file">A configuration file, which may have what the command line lacks; null for none.</param>
    internal static string? FirstError(ParseResult parsed, string? file)
    {
        ParseError? error =
            parsed.Errors.FirstOrDefault(error => file is null || error.SymbolResult is not OptionResult { Implicit: true });
        if (error is null) return null;
        Command named = parsed.CommandResult.Command;
        // Of a word that is no command, and what is behind it, the parser says only that a command is missing.
        string message = named.Subcommands.Count > 0 && parsed.UnmatchedTokens is [{ } word, ..] && !word.StartsWith('-')
            ? $"there is no command '{word}': give {string.Join(", ", named.Subcommands.Select(command => command.Name))}"
            // The parser lists what may stand there in lines.
            : error.Message.Replace("\n\t", " ", StringComparison.Ordinal);
        return $"{message} (see '{NameOf(parsed.CommandResult)} --help')";
    }

    /// <summary>A command as it is typed, with those that it belongs to.</summary>
    private static string NameOf(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{NameOf(parent)} {result.Command.Name}" : "vmm";

    /// <summary>The words that a user types for help and version.</summary>
    private static string[] AsMeant(string[] args) => args switch
    {
        ["help"] => ["--help"],
        ["help", string command] => [command, "--help"],
        ["version"] or ["-v"] or ["-V"] => ["--version"],
        _ => args,
    };
}
