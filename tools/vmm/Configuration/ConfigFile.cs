using System.CommandLine;
using System.CommandLine.Parsing;

namespace Vmm.Tool;

/// <summary>A configuration file: what it says to its command, and what is wrong with it. Nothing that it names is opened.</summary>
internal sealed class ConfigFile
{
    internal static readonly InvocationConfiguration Silent = new()
    {
        Output = TextWriter.Null,
        Error = TextWriter.Null,
        EnableDefaultExceptionHandler = false,
        ProcessTerminationTimeout = null,
    };

    // Its actions look whether all fits together, and do nothing.
    private readonly RootCommand _tree = CommandTree.Create(carriesOut: false);
    private readonly ConfigText _text;
    private readonly List<Mistake> _mistakes;
    private readonly IReadOnlySet<string> _spoiled = new HashSet<string>();

    private ConfigFile(ConfigText text, List<Mistake> mistakes)
    {
        (_text, _mistakes) = (text, mistakes);
        TomlTable root = TomlReader.Read(text.Text, mistakes);
        Command = ConfigReader.CommandOf(root, _tree, mistakes);
        CommandAt = root.Find(ConfigReader.CommandName)?.At ?? 0;
        if (Command is not null) (Entries, _spoiled) = ConfigReader.Read(root, Command, mistakes);
    }

    /// <summary>The command it is for; null if it does not say so.</summary>
    internal Command? Command { get; }

    /// <summary>Where that is said.</summary>
    internal int CommandAt { get; }

    /// <summary>The file.</summary>
    internal string Path => _text.Path;

    /// <summary>What it says, as far as it could be read, in its order.</summary>
    internal IReadOnlyList<ConfigEntry> Entries { get; } = [];

    /// <exception cref="IOException">The file can't be read.</exception>
    internal static ConfigFile Read(string path)
    {
        List<Mistake> mistakes = [];
        return new ConfigFile(ConfigText.Read(path, mistakes), mistakes);
    }

    /// <summary>Reads what would be in a file.</summary>
    internal static ConfigFile Read(string path, ReadOnlySpan<byte> bytes)
    {
        List<Mistake> mistakes = [];
        return new ConfigFile(ConfigText.Decode(path, bytes, mistakes), mistakes);
    }

    /// <summary>The line of an entry as editors take it.</summary>
    internal string LineOf(int at) => _text.LineOf(at);

    /// <summary>The entries that a command line does not replace.</summary>
    internal IReadOnlyList<ConfigEntry> EntriesBeside(ParseResult line) =>
    [
        .. Entries.Where(entry =>
            !line.CommandResult.Children.Any(child => child is OptionResult { Implicit: false } given && IsOf(entry, given))),
    ];

    /// <summary>Does what a command line and the file say, if nothing is wrong with them.</summary>
    /// <exception cref="ConfigException">Something is.</exception>
    internal int Invoke(string[] args, InvocationConfiguration invocation)
    {
        IReadOnlyList<string> mistakes = Judge(args);
        if (mistakes.Count > 0) throw new ConfigException(mistakes);
        RootCommand root = CommandTree.Create(carriesOut: true);
        ParseResult line = CommandTree.Parse(root, args);
        ParseResult merged = CommandTree.Parse(root, Merge(args, EntriesBeside(line)));
        try
        {
            return merged.Invoke(invocation);
        }
        catch (IOException failure) when (IsAboutRelativePath(failure.Message))
        {
            throw new IOException($"{failure.Message} (relative paths of a configuration file begin at the working directory, "
                + $"'{Environment.CurrentDirectory}')", failure);
        }
    }

    /// <summary>Whether a failure names a relative path that the file gave and that is not there.</summary>
    private bool IsAboutRelativePath(string failure) => failure.Split('\'').Any(name =>
        name.Length > 0 && !System.IO.Path.IsPathRooted(name) && !System.IO.Path.Exists(name)
        && Entries.Any(entry => entry.Text.Contains(name, StringComparison.Ordinal)));

    /// <summary>A command line with what the file says beside it.</summary>
    /// <param name="args">The command line.</param>
    /// <param name="entries">What the file says.</param>
    internal static string[] Merge(IEnumerable<string> args, IEnumerable<ConfigEntry> entries) =>
        [.. args, .. entries.SelectMany(entry => entry.Words)];

    /// <summary>Everything that is wrong with the file, each with its place and in the file's order.</summary>
    /// <param name="args">The command line that it stands beside; null for the file's command alone.</param>
    internal IReadOnlyList<string> Judge(string[]? args = null)
    {
        List<Mistake> mistakes = [.. _mistakes];
        if (Command is not null) mistakes.AddRange(JudgeEntries(args ?? [Command.Name]));
        return
        [
            .. mistakes.OrderBy(mistake => mistake.At).Select(mistake => $"{_text.PlaceOf(mistake.At)}: {mistake.Sentence}").Distinct(),
        ];
    }

    private List<Mistake> JudgeEntries(string[] args)
    {
        ParseResult line = CommandTree.Parse(_tree, args);
        if (line.CommandResult.Command != Command)
            return [new Mistake(CommandAt, $"the file is for 'vmm {Command!.Name}', and not for 'vmm {line.CommandResult.Command.Name}'")];
        IReadOnlyList<ConfigEntry> entries = EntriesBeside(line);
        IReadOnlyList<string> wrong = WrongWith(entries);
        if (wrong.Count == 0) return [];
        // Each value alone says what is wrong with it. What is wrong with the others together comes after.
        List<Mistake> mistakes = [];
        List<ConfigEntry> good = [];
        foreach (ConfigEntry entry in entries)
        {
            int before = mistakes.Count;
            JudgeEntry(entry, mistakes);
            if (mistakes.Count == before) good.Add(entry);
        }
        string[] bad = [.. _spoiled, .. entries.Except(good).Select(entry => entry.Setting.Option.Name)];
        foreach (string sentence in good.Count == entries.Count ? wrong : WrongWith(good))
        {
            // An option whose value is wrong is missed, or its standard value does not fit: one mistake, not two.
            if (bad.Any(name => Names(sentence, name))) continue;
            mistakes.Add(new Mistake(good.FirstOrDefault(entry => Names(sentence, entry.Setting.Option.Name))?.At ?? CommandAt, sentence));
        }
        return mistakes;

        IReadOnlyList<string> WrongWith(IEnumerable<ConfigEntry> some)
        {
            string[] words = Merge(args, some);
            ParseResult all = CommandTree.Parse(_tree, words);
            string[] sentences = [.. all.Errors.Select(error => error.Message)];
            string[] missing = [.. all.Errors.Select(error => error.SymbolResult).OfType<OptionResult>()
                .Where(result => result.Implicit).Select(result => $"{result.Option.Name}=?")];
            if (missing.Length < sentences.Length) return sentences;
            try
            {
                // An option that is missing does not hide what else does not fit together.
                CommandTree.Parse(_tree, [.. words, .. missing]).Invoke(Silent);
                return sentences;
            }
            catch (UsageException usage)
            {
                return [.. sentences, .. usage.Sentences];
            }
        }
    }

    /// <summary>
    /// Finds what is wrong with a value alone. Of a table, a key that is wrong is taken out, so that what is wrong with others is found
    /// too.
    /// </summary>
    private void JudgeEntry(ConfigEntry entry, List<Mistake> mistakes)
    {
        List<ConfigPart> taken = [];
        for (int before = -1; before < taken.Count;)
        {
            before = taken.Count;
            ConfigEntry rest = before == 0 ? entry : ConfigEntry.OfTable(entry.Setting, entry.At, [.. entry.Parts.Except(taken)]);
            foreach (ParseError error in CommandTree.Parse(_tree, [Command!.Name, .. rest.Words]).Errors)
            {
                if (error.SymbolResult is not OptionResult result || !IsOf(entry, result)) continue;
                ConfigPart? part = entry.PartIn(error.Message);
                // What was taken out is missed now.
                if (before > 0 && (part is null || taken.Contains(part))) continue;
                mistakes.Add(new Mistake(part?.At ?? entry.At, error.Message));
                if (part is not null) taken.Add(part);
            }
        }
    }

    private static bool IsOf(ConfigEntry entry, OptionResult result) => result.Option.Name == entry.Setting.Option.Name;

    /// <summary>Whether a sentence names an option, and not one whose name is longer.</summary>
    private static bool Names(string sentence, string option)
    {
        int at = sentence.IndexOf(option, StringComparison.Ordinal);
        return at >= 0 && (at + option.Length == sentence.Length || sentence[at + option.Length] is not ('-' or (>= 'a' and <= 'z')));
    }
}

/// <summary>A configuration file is wrong. Each sentence says where and why.</summary>
internal sealed class ConfigException(IReadOnlyList<string> mistakes) : Exception(mistakes[0])
{
    internal IReadOnlyList<string> Mistakes => mistakes;
}
