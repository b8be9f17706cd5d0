using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.Profile;

/// <summary>
/// Reads the text that the runtime writes when a process ends that has <c>DOTNET_WritePGOData=1</c> and <c>DOTNET_PGODataPath=FILE</c>:
/// for each method a line with its sizes, its name, its signature, and its probes, each with a line for each value.
/// </summary>
internal static partial class MeasuredText
{
    /// <summary>Reads all methods.</summary>
    /// <exception cref="InvalidDataException">The text is not what the runtime writes.</exception>
    public static IEnumerable<MeasuredMethod> Read(TextReader text)
    {
        if (text.ReadLine()?.StartsWith("*** START PGO Data", StringComparison.Ordinal) != true)
            throw new InvalidDataException("it does not begin with '*** START PGO Data'");
        while (text.ReadLine() is { } line && !line.StartsWith("*** END PGO Data", StringComparison.Ordinal))
        {
            Match sizes = Matching(MethodLine(), line);
            string name = Line(text, "MethodName: "), signature = Line(text, "Signature: ");
            Probe[] probes = [.. Enumerable.Range(0, Hexadecimal(sizes.Groups[2])).Select(_ => ReadProbe(text))];
            yield return new MeasuredMethod(name, signature, Hexadecimal(sizes.Groups[1]), probes);
        }
    }

    private static Probe ReadProbe(TextReader text)
    {
        Match match = Matching(ProbeLine(), Line(text, "Schema "));
        int[] fields = [.. match.Groups.Values.Skip(1).Select(Number)];
        string[] values = [.. Enumerable.Range(0, fields[2]).Select(_ => Line(text, ""))];
        return new Probe(fields[0], fields[1], fields[3], values);
    }

    private static string Line(TextReader text, string start) =>
        text.ReadLine() is { } line && line.StartsWith(start, StringComparison.Ordinal)
            ? line[start.Length..]
            : throw new InvalidDataException($"there is no line '{start}…' where one belongs");

    private static Match Matching(Regex form, string line) =>
        form.Match(line) is { Success: true } match ? match : throw new InvalidDataException($"'{line}' is not in the form '{form}'");

    private static int Number(Group digits) => unchecked((int)uint.Parse(digits.Value, CultureInfo.InvariantCulture));

    private static int Hexadecimal(Group digits) => int.Parse(digits.Value, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    [GeneratedRegex("^@@@ codehash 0x[0-9A-F]+ methodhash 0x[0-9A-F]+ ilSize 0x([0-9A-F]+) records 0x([0-9A-F]+)$")]
    private static partial Regex MethodLine();

    [GeneratedRegex("^InstrumentationKind ([0-9]+) ILOffset ([0-9]+) Count ([0-9]+) Other ([0-9]+)$")]
    private static partial Regex ProbeLine();
}
