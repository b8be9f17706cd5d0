using System.CommandLine;
using System.Text;
using Vmm.Tool;

namespace Vmm.Fuzz;

/// <summary>
/// Command lines of <c>vmm</c>, right, nearly right and of any characters, understood as far as that goes without opening or starting
/// anything. Each makes sense, or is answered by one sentence and the exit code that means so.
/// </summary>
internal sealed class CommandLineTarget(Tally tally) : IFuzzTarget
{
    private const int WordsMax = 12;
    private const int LettersMax = 12;
    private const int SentenceLengthMax = 64 << 10;
    private const long BytesMax = 16 << 20;
    private const int Understood = 0;
    private const int Refused = 2;

    /// <summary>The last is none.</summary>
    private static readonly string[] Commands = ["run", "boot", "serve", "bench vhost-user-blk", "bench", "help"];

    private static readonly string[] Options =
    [
        "--vcpus", "--memory", "--exec", "--stats", "--disk", "--engine", "--rng", "--balloon", "--console", "--net", "--vsock",
        "--kernel", "--initrd",
        "--cmdline", "--no-acpi", "--blk", "--reactors", "--cpus", "--poll-max-us", "--require-sealed", "--socket", "--vs", "--queues",
        "--depth", "--size",
        "--rw", "--seconds", "--verify", "--poll", "--json", "--help", "-h", "-?", "--version", "--", "[suggest]", "[suggest:3]",
        "[diagram]", "@words",
        "--allow-unsealed", "--map-max",
    ];

    /// <summary>Keys and flags of the options that describe a device.</summary>
    private static readonly string[] Keys =
    [
        "path=", "socket=", "queues=", "engine=", "ro", "rw", "direct", "pty", "terminal", "uds=", "file=", "name=", "tap=", "mac=",
        "mtu=", "cid=", "connections=", "target=", "",
    ];

    private static readonly string[] Values =
    [
        "a", "ring", "threads", "synchronous", "true", "false", "table", "json", "randread", "write", "4k", "1M", "02:00:00:00:00:01",
        "image", "poweroff", "fill vda 1; verify vda 1",
    ];

    private static readonly string[] Letters = [" ", ",", "=", ";", ":", "'", "\"", "\n", "\r", "\t",
        "\u001b[2J", "\ud83d", "\udca9", "\u0130", "\u200f", "@", "-", "0", "9", "%", "{0}", "\uffff"];

    public void Run(FuzzInput input)
    {
        string[] args = [.. Words(input)];
        using StringWriter output = new(), error = new();
        InvocationConfiguration invocation = new()
        {
            Output = output,
            Error = error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = null
        };
        long before = GC.GetAllocatedBytesForCurrentThread();
        int code = CommandTree.Run(args, invocation, carriesOut: false);
        string said = $"'{string.Join("' '", args)}': {code}, {error}";
        BrokenPromiseException.Unless(GC.GetAllocatedBytesForCurrentThread() - before < BytesMax, $"too much was allocated for {said}");
        BrokenPromiseException.Unless(code is Understood or Refused, $"another exit code for {said}");
        if (code == Refused) Judge(error.ToString(), said);
        else BrokenPromiseException.Unless(error.GetStringBuilder().Length == 0, $"a complaint about what was understood: {said}");
        if (code == Refused) tally.Add("refused");
        else if (output.GetStringBuilder().Length > 0) tally.Add("helped");
        else tally.Add(args[0]);
    }

    public void Dispose()
    {
    }

    private static void Judge(string complaint, string said)
    {
        const string Start = "vmm: ";
        string sentence = complaint.TrimEnd(Environment.NewLine.ToCharArray());
        BrokenPromiseException.Unless(sentence.StartsWith(Start, StringComparison.Ordinal)
            && sentence.Length > Start.Length + 3, $"a refusal without a word: {said}");
        BrokenPromiseException.Unless(!sentence.Any(char.IsControl), $"a refusal that is not one line: {said}");
        BrokenPromiseException.Unless(sentence.Length < SentenceLengthMax, $"a refusal without end: {said}");
        BrokenPromiseException.Unless(!sentence.Contains("Exception", StringComparison.Ordinal)
            && !sentence.Contains("   at ", StringComparison.Ordinal), $"a refusal for us and not the user: {said}");
    }

    private static IEnumerable<string> Words(FuzzInput input)
    {
        if (!input.OneIn(16))
        {
            foreach (string word in input.Pick<string>(Commands).Split(' ')) yield return word;
        }
        // What makes the most of them understood, so that what comes after it is looked at.
        if (input.OneIn(3)) yield return input.Pick<string>(["--kernel=k", "--socket=s", "--rng=socket=s", "--blk=path=p,socket=s"]);
        for (int i = input.Next(WordsMax); i > 0 && !input.IsSpent; i--)
        {
            string option = input.OneIn(16) ? Word(input) : input.Pick<string>(Options);
            string value = Value(input);
            switch (input.Next(4))
            {
                case 0:
                    yield return option;
                    break;
                case 1:
                    yield return $"{option}={value}";
                    break;
                case 2:
                    yield return $"{option}:{value}";
                    break;
                default:
                    yield return option;
                    yield return value;
                    break;
            }
        }
    }

    private static string Value(FuzzInput input)
    {
        switch (input.Next(4))
        {
            case 0: return Number(input);
            case 1: return input.OneIn(4) ? Word(input) : input.Pick<string>(Values);
        }
        StringBuilder device = new();
        for (int i = 1 + input.Next(5); i > 0; i--)
        {
            if (device.Length > 0) device.Append(',');
            string key = input.OneIn(16) ? Word(input) : input.Pick<string>(Keys);
            device.Append(key);
            if (key.EndsWith('='))
                device.Append(input.Next(3) switch { 0 => Number(input), 1 => Word(input), _ => input.Pick<string>(Values) });
        }
        return device.ToString();
    }

    private static string Number(FuzzInput input) => input.Next(4) switch
    {
        0 => $"{input.Interesting()}",
        1 => $"-{input.Interesting()}",
        2 => $"{input.Byte()}",
        _ => $"{input.UInt16()}{input.Pick<string>(["", "k", "M", ".5", "e9", " ", ","])}",
    };

    /// <summary>Any characters a command line can have: all but the one that ends a word.</summary>
    private static string Word(FuzzInput input)
    {
        StringBuilder word = new();
        for (int i = input.Next(LettersMax); i > 0; i--)
        {
            if (input.OneIn(3)) word.Append((char)Math.Max((ushort)1, input.UInt16()));
            else word.Append(input.OneIn(2) ? input.Pick<string>(Letters) : ((char)('a' + input.Next(26))).ToString());
        }
        // Long enough to be a burden.
        return input.OneIn(64) ? string.Concat(Enumerable.Repeat(word, 1000)) : word.ToString();
    }
}
