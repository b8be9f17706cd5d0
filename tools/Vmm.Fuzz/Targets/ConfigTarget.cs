using System.CommandLine;
using System.Globalization;
using System.Text;
using Tomlyn.Parsing;
using Tomlyn.Syntax;
using Vmm.Tool;

namespace Vmm.Fuzz;

/// <summary>
/// Configuration files, right, nearly right and of any bytes, judged without opening what they name. Each makes sense, or every mistake
/// has its place and a sentence. Tomlyn, another reader of TOML, has to find the same values; and what is shown of a file that makes
/// sense has to say the same as the file.
/// </summary>
internal sealed class ConfigTarget(Tally tally) : IFuzzTarget
{
    private const string Name = "f.toml";
    private const int StatementsMax = 12;
    private const int SentenceLengthMax = 64 << 10;
    private const long BytesMax = 64 << 20;

    private static readonly string[] Beginnings =
        ["command = \"run\"\n", "command = 'serve'\n", "command = \"boot\"\nkernel = 'k'\n", "command = 1\n"];

    private static readonly string[] Names =
    [
        "command", "reactors", "cpus", "core", "memory", "vcpus", "kernel", "no-acpi", "exec", "stats", "engine", "map-max", "rng",
        "balloon", "path", "socket", "queues", "ro", "cache", "iops", "burst", "pty", "uds", "tap", "mac", "cid", "target", "a",
        "\"q u\"", "''", "é", "disk.path", "vsock.cid",
    ];

    private static readonly string[] Headers =
    [
        "[[disk]]", "[[blk]]", "[[console]]", "[[net]]", "[vsock]", "[[vsock]]", "[rng]", "[balloon]", "[[rng]]", "[a.b]",
        "[ a . \"b\" ]", "[[a.b]]", "[disk", "[[disk]", "[]", "[a.b.c]",
    ];

    private static readonly string[] Values =
    [
        "1", "0", "-1", "+3", "1_000", "0x1F", "0o17", "0b11", "01", "1__0", "9223372036854775807", "9223372036854775808", "1.5", "1e3",
        "1.5E-2", "1.", ".5", "inf", "-nan", "true", "false", "True", "\"run\"", "\"boot\"", "\"serve\"", "\"a.img\"", "'C:\\n'",
        "\"\\u00e9\\n\\t\\\"\"", "\"\\q\"", "\"\\ud800\"", "\"\"\"\na\\\n   b\"\"\"", "'''x''y'''", "\"\"\"\"q\"\"\"\"", "[1, 2,]",
        "[[1], ['a']]", "[\n 1, # c\n 2\n]", "{}", "{a = 1, b.c = 2}", "{a = 1, a = 2}", "{ path = \"a\", socket = \"s\" }",
        "[{path = 'a', ro = true}]", "1979-05-27", "07:32:00", "\"null:1M\"", "\"/run/s\"", "\"forever\"", "\"64K\"",
        "\"02:00:00:00:00:01\"", "\"-- --x=,,\"", "\"open", "[1", "{a = ", "", "\"é\ud83d\udca9\"",
    ];

    private static readonly string[] Letters =
    [
        "\r", "\r\n", "\n", "\t", " ", "#", "=", ".", ",", "[", "]", "{", "}", "\"", "'", "\\", "\0", "\u007f", "\u0085", "\ufeff", "é",
        "\ud83d\udca9", "0", "_", "-",
    ];

    public void Run(FuzzInput input)
    {
        byte[] bytes = Document(input);
        long before = GC.GetAllocatedBytesForCurrentThread();
        ConfigFile file = ConfigFile.Read(Name, bytes);
        IReadOnlyList<string> mistakes = file.Judge();
        string said = $"{Convert.ToHexString(bytes)}: {string.Join(" | ", mistakes)}";
        BrokenPromiseException.Unless(GC.GetAllocatedBytesForCurrentThread() - before < BytesMax, $"too much was allocated for {said}");
        foreach (string mistake in mistakes) Judge(mistake, bytes, said);
        tally.Add(mistakes.Count == 0 ? file.Command!.Name : "refused");
        if (mistakes.Count == 0) ShowAndReadAgain(file, said);
        Compare(bytes, said);
    }

    public void Dispose()
    {
    }

    private static byte[] Document(FuzzInput input)
    {
        StringBuilder text = new();
        if (input.OneIn(16)) text.Append('\ufeff');
        if (!input.OneIn(4)) text.Append(input.Pick<string>(Beginnings));
        if (input.OneIn(3)) text.Append("[[rng]]\nsocket = 's'\n");
        for (int i = input.Next(StatementsMax); i > 0 && !input.IsSpent; i--)
        {
            if (input.OneIn(4)) text.Append(input.Pick<string>(Headers));
            else text.Append(input.Pick<string>(Names)).Append(input.OneIn(16) ? " " : " = ").Append(input.Pick<string>(Values));
            text.Append(input.OneIn(8) ? input.Pick<string>([" # c", "\r", " x", ""]) : "").Append(input.OneIn(8) ? "\r\n" : "\n");
        }
        for (int i = input.OneIn(2) ? input.Next(4) : 0; i > 0 && text.Length > 0; i--)
        {
            int at = input.Next(Math.Min(text.Length, ushort.MaxValue));
            if (input.OneIn(2)) text.Insert(at, input.Pick<string>(Letters));
            else text.Remove(at, 1);
        }
        byte[] bytes = Encoding.UTF8.GetBytes(text.ToString());
        for (int i = input.OneIn(8) ? input.Next(4) : 0; i > 0 && bytes.Length > 0; i--)
            bytes[input.Next(Math.Min(bytes.Length, ushort.MaxValue))] = input.Byte();
        return bytes;
    }

    private static void Judge(string mistake, byte[] bytes, string said)
    {
        string[] parts = Printable.Of(mistake).Split(':', 4);
        BrokenPromiseException.Unless(parts.Length == 4 && parts[0] == Name && parts[3].Length > 3,
            $"a mistake without a place or a word: {said}");
        int line = int.Parse(parts[1], CultureInfo.InvariantCulture), column = int.Parse(parts[2], CultureInfo.InvariantCulture);
        int lines = bytes.Count(letter => letter == '\n') + 1;
        BrokenPromiseException.Unless(line >= 1 && line <= lines && column >= 1 && column <= bytes.Length + 1,
            $"a place that is none: {said}");
        BrokenPromiseException.Unless(mistake.Length < SentenceLengthMax && !parts[3].Any(char.IsControl),
            $"a sentence that is not one line: {said}");
        BrokenPromiseException.Unless(!mistake.Contains("Exception", StringComparison.Ordinal),
            $"a sentence for us and not the user: {said}");
    }

    private static void ShowAndReadAgain(ConfigFile file, string said)
    {
        string shown = Show(file);
        ConfigFile again = ConfigFile.Read(Name, Encoding.UTF8.GetBytes(shown));
        IReadOnlyList<string> mistakes = again.Judge();
        BrokenPromiseException.Unless(mistakes.Count == 0,
            $"what is shown makes no sense: {shown}: {string.Join(" | ", mistakes)}: {said}");
        string[] once = [.. file.Entries.Select(entry => string.Join(' ', entry.Words)).Order()];
        string[] twice = [.. again.Entries.Select(entry => string.Join(' ', entry.Words)).Order()];
        BrokenPromiseException.Unless(once.SequenceEqual(twice),
            $"what is shown says something else: {shown}: {string.Join(" | ", once)} and {string.Join(" | ", twice)}: {said}");
    }

    private static string Show(ConfigFile file)
    {
        ParseResult merged = CommandTree.Parse(CommandTree.Create(carriesOut: false), ConfigFile.Merge([file.Command!.Name], file.Entries));
        return ConfigListing.Of(merged, file, file.Entries);
    }

    /// <summary>What is read here is what Tomlyn reads.</summary>
    private void Compare(byte[] bytes, string said)
    {
        List<Mistake> mistakes = [];
        ConfigText text = ConfigText.Decode(Name, bytes, mistakes);
        // Tomlyn takes U+FFFD for something that could not be decoded, and skips a second byte order mark.
        if (mistakes.Count > 0 || text.Text.Contains('\ufffd') || text.Text.StartsWith('\ufeff')) return;
        TomlTable ours = TomlReader.Read(text.Text, mistakes);
        DocumentSyntax theirs;
        try
        {
            theirs = SyntaxParser.Parse(text.Text);
        }
        catch (Exception failure) when (failure is ArgumentException or InvalidOperationException or IndexOutOfRangeException)
        {
            // As for \ud800. Then it says nothing about ours.
            tally.Add("Tomlyn fails");
            return;
        }
        if (mistakes.Count > 0)
        {
            // Tomlyn reads TOML 1.1, which has times without seconds and more; dates and numbers of more than 64 bits are refused here.
            tally.Add(theirs.HasErrors ? "refused by both" : "refused here alone");
            return;
        }
        BrokenPromiseException.Unless(!theirs.HasErrors, $"Tomlyn refuses it: {theirs.Diagnostics.FirstOrDefault()}: {said}");
        string[] found = [.. Scalars(ours).OrderBy(scalar => scalar.At).Select(scalar => Of(scalar.Value))];
        string[] other = [.. theirs.Descendants().Select(ValueOf).OfType<object>().Select(Of)];
        BrokenPromiseException.Unless(found.SequenceEqual(other),
            $"Tomlyn reads something else: {string.Join(", ", found)} and {string.Join(", ", other)}: {said}");
        tally.Add("read by both");
    }

    private static IEnumerable<TomlScalar> Scalars(TomlNode node) => node switch
    {
        TomlScalar scalar => [scalar],
        TomlTable table => table.Items.SelectMany(item => Scalars(item.Value)),
        TomlArray array => array.Items.SelectMany(Scalars),
        _ => [],
    };

    private static object? ValueOf(SyntaxNodeBase node) => node switch
    {
        StringValueSyntax { Parent: not (KeySyntax or DottedKeyItemSyntax) } text => text.Value,
        IntegerValueSyntax number => number.Value,
        FloatValueSyntax number => number.Value,
        BooleanValueSyntax boolean => boolean.Value,
        _ => null,
    };

    private static string Of(object value) => string.Create(CultureInfo.InvariantCulture, $"{value.GetType().Name} {value}");
}
