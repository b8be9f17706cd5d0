using System.CommandLine;

namespace Vmm.Tool;

/// <summary>The commands about configuration files.</summary>
internal static class ConfigCommands
{
    /// <summary><c>vmm start</c>: what a file says, with its command.</summary>
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command CreateStart(bool carriesOut)
    {
        Argument<string> file = new("FILE") { Description = "A configuration file in TOML." };
        ChoiceOption sandbox = new("--sandbox", "As of boot and serve, whatever the file says of it.", standard: null,
            "auto", "require", "off");
        Command command =
            new("start", "Do what a configuration file says: 'vmm run', 'vmm boot' or 'vmm serve' with its options.") { file, sandbox };
        command.SetAction(parsed =>
        {
            if (!carriesOut) return ExitCode.Success;
            ConfigFile config = ConfigFile.Read(parsed.GetValue(file)!);
            if (config.Command is not { } named) throw new ConfigException(config.Judge());
            // The guest of 'run' is part of this program.
            string[] more = sandbox.In(parsed) is { } mode && named.Name != "run" ? [$"--sandbox={mode}"] : [];
            return config.Invoke([named.Name, "--config", config.Path, .. more], parsed.InvocationConfiguration);
        });
        return command;
    }

    /// <summary><c>vmm check</c>: what is wrong with files.</summary>
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command CreateCheck(bool carriesOut)
    {
        Argument<string[]> files = new("FILE") { Description = "Configuration files in TOML.", Arity = ArgumentArity.OneOrMore };
        Command command = new("check",
            "Look for mistakes in configuration files. Each is a line 'FILE:LINE:COLUMN: …' on standard error; nothing is opened.")
        {
            files,
        };
        command.SetAction(parsed =>
        {
            if (!carriesOut) return ExitCode.Success;
            string[] mistakes = [.. parsed.GetValue(files)!.SelectMany(file => ConfigFile.Read(file).Judge())];
            return mistakes.Length == 0 ? ExitCode.Success : throw new ConfigException(mistakes);
        });
        return command;
    }

    /// <summary><c>vmm config</c>: what is in force, and the schema for editors.</summary>
    /// <param name="root">Gives the whole tree.</param>
    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command CreateConfig(Func<RootCommand> root, bool carriesOut)
    {
        Argument<string> command = new("COMMAND") { Description = "run, boot or serve, and its options behind it." };
        command.AcceptOnlyFromAmong("run", "boot", "serve");
        Command show = new("show",
            "Print what is in force for a command line, as a configuration file that says where each value comes from.")
        {
            command,
        };
        // They are those of another command, which reads them.
        show.TreatUnmatchedTokensAsErrors = false;
        show.SetAction(parsed =>
        {
            if (carriesOut) parsed.InvocationConfiguration.Output.Write(Show([parsed.GetValue(command)!, .. parsed.UnmatchedTokens]));
            return ExitCode.Success;
        });
        Command schema = new("schema", "Print the JSON Schema of configuration files, by which editors complete and check them.");
        schema.SetAction(parsed =>
        {
            if (carriesOut) parsed.InvocationConfiguration.Output.Write(ConfigSchema.Of(root()));
            return ExitCode.Success;
        });
        return new Command("config", "Show what is in force, and the schema of configuration files.") { show, schema };
    }

    private static string Show(string[] args)
    {
        RootCommand tree = CommandTree.Create(carriesOut: false);
        ParseResult line = CommandTree.Parse(tree, args);
        string? path = ConfigOption.PathIn(line);
        if (CommandTree.FirstError(line, path) is { } wrong) throw new UsageException(wrong);
        ConfigFile? file = path is null ? null : ConfigFile.Read(path);
        if (file?.Judge(args) is { Count: > 0 } mistakes) throw new ConfigException(mistakes);
        IReadOnlyList<ConfigEntry> entries = file?.EntriesBeside(line) ?? [];
        ParseResult merged = CommandTree.Parse(tree, ConfigFile.Merge(args, entries));
        merged.Invoke(ConfigFile.Silent);
        return ConfigListing.Of(merged, file, entries);
    }
}
