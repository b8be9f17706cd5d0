using System.CommandLine;
using System.CommandLine.Parsing;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>A device that was asked for.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Name">The device's name.</param>
/// <param name="Spec">The device.</param>
/// <param name="Socket">Where front-ends connect, if it is served; else null.</param>
internal sealed record RequestedDevice(DeviceKind Kind, string Name, DeviceSpec Spec, ServedSocket? Socket = null)
{
    /// <summary>The option, as messages call it.</summary>
    internal string Option => $"--{Kind.Name}";
}

/// <summary>
/// An option that describes devices of one kind. Its texts are understood while the command line is parsed, so that all that are wrong are
/// found; nothing is opened.
/// </summary>
internal sealed class DeviceOption : Option<IReadOnlyList<RequestedDevice>?>
{
    private const string Keys = "KEYS";

    /// <param name="kind">What it describes.</param>
    /// <param name="isServed">Whether each device is served at a socket, which its text names.</param>
    /// <param name="isStandard">Whether there is one unless 'false' is given.</param>
    internal DeviceOption(DeviceKind kind, bool isServed, bool isStandard = false) : base($"--{kind.Name}")
    {
        Kind = kind;
        IsServed = isServed;
        IsStandard = isStandard;
        CustomParser = Understand;
        Syntax = !isServed ? kind.Syntax : kind.Syntax switch
        {
            "" => ServedSocket.Syntax,
            ['[', .. string optional] => $"{ServedSocket.Syntax}[,{optional}",
            _ => $"{ServedSocket.Syntax},{kind.Syntax}",
        };
        Value = IsSwitch ? $"true|false{(Syntax.Length > 0 ? "|" : "")}{Syntax}" : Shortened(Syntax);
        HelpName = !IsSwitch ? Keys : Syntax.Length > 0 ? $"true|false|{Keys}" : "true|false";
        // Help breaks lines at spaces.
        Description = Syntax.Length == 0 ? kind.Description : $"{kind.Description} {Keys}: "
            + Syntax.Replace(",", ", ", StringComparison.Ordinal).Replace("|", " | ", StringComparison.Ordinal);
        Arity = IsSwitch ? ArgumentArity.ZeroOrOne : IsRepeatable ? ArgumentArity.OneOrMore : ArgumentArity.ExactlyOne;
        if (isServed && kind.ServedName is { } synonym) Aliases.Add($"--{synonym}");
    }

    internal DeviceKind Kind { get; }

    internal bool IsServed { get; }

    internal bool IsStandard { get; }

    /// <summary>What the option's value looks like, in whole.</summary>
    internal string Value { get; }

    /// <summary>What a text looks like, with every key.</summary>
    internal string Syntax { get; }

    internal bool IsRepeatable => IsServed || !Kind.IsSingle;

    /// <summary>Whether the option alone, or 'true', asks for one, and 'false' for none.</summary>
    internal bool IsSwitch => !IsServed && Kind.IsSwitch;

    /// <summary>The devices that were asked for.</summary>
    internal IReadOnlyList<RequestedDevice> In(ParseResult parsed) =>
        parsed.GetResult(this) is { Implicit: false } ? parsed.GetValue(this) ?? [] : IsStandard ? Describe([""], _ => { }) : [];

    /// <summary>The first key may be left out, which also has shells complete the path.</summary>
    private static string Shortened(string syntax)
    {
        const string Path = "path=";
        return syntax.StartsWith(Path, StringComparison.Ordinal) ? syntax[Path.Length..] : syntax;
    }

    private IReadOnlyList<RequestedDevice> Understand(ArgumentResult result)
    {
        string[] texts = [.. result.Tokens.Select(token => token.Value)];
        // As it was typed: there may be a synonym.
        string name = (result.Parent as OptionResult)?.IdentifierToken?.Value ?? Name;
        void Refuse(string sentence) => result.AddError(name + sentence);
        if (IsServed) return [.. texts.Select((text, i) => Serve(text, i, Refuse)).OfType<RequestedDevice>()];
        if (!IsSwitch) return Describe(texts, Refuse);
        bool wanted = true;
        bool isWord = texts is [] or [""] || bool.TryParse(texts[0], out wanted);
        return isWord && !wanted ? [] : Describe([isWord ? "" : texts[0]], Refuse);
    }

    /// <summary>What a served device is called.</summary>
    internal static string ServedNameOf(DeviceKind kind, int index) => $"{kind.ServedName ?? kind.Name}{index}";

    /// <summary>Understands the text of a device that is served.</summary>
    /// <param name="text">It describes the device, and says where front-ends connect.</param>
    /// <param name="index">The device's number among those of its kind.</param>
    /// <param name="refuse">Gets a sentence for each thing that is wrong.</param>
    internal RequestedDevice? Serve(string text, int index, Action<string> refuse)
    {
        string rest = text;
        ServedSocket? socket;
        try
        {
            socket = Kind.TakeSocket(ref rest);
        }
        catch (DeviceSpecException refused)
        {
            refuse($" {refused.Message}");
            return null;
        }
        if (socket is null)
        {
            refuse($" '{text}': 'socket=…' is missing, where front-ends connect");
            return null;
        }
        if (Describe([rest], refuse) is not [RequestedDevice device]) return null;
        if (device.Spec is ConsoleSpec console && console.Ports.Any(port => port.IsTerminal))
            refuse($" '{text}': the terminal can't be served: give 'pty', 'uds=PATH' or 'file=PATH'");
        return device with { Name = ServedNameOf(Kind, index), Socket = socket };
    }

    /// <summary>Understands the text of a device for a machine that runs.</summary>
    /// <param name="text">It describes the device.</param>
    /// <param name="index">The device's number among those of its kind.</param>
    /// <param name="refuse">Gets a sentence for each thing that is wrong.</param>
    internal RequestedDevice? Plug(string text, int index, Action<string> refuse)
    {
        if (Describe([text], refuse) is not [RequestedDevice device]) return null;
        if (device.Spec is ConsoleSpec console && console.Ports.Any(port => port.IsTerminal))
            refuse($" '{text}': the terminal belongs to the machine from its start: give 'pty', 'uds=PATH' or 'file=PATH'");
        return device with { Name = Kind.DeviceName(index) };
    }

    /// <summary>Understands the texts for one machine.</summary>
    private IReadOnlyList<RequestedDevice> Describe(IReadOnlyList<string> texts, Action<string> refuse)
    {
        try
        {
            RequestedDevice[] devices = [.. Kind.Parse(texts).Select((spec, i) => new RequestedDevice(Kind, Kind.DeviceName(i), spec))];
            foreach (string failure in devices.SelectMany(device => device.Spec.Failures(device.Name))) refuse($": {failure}");
            return devices;
        }
        catch (DeviceSpecException refused) when (texts.Count == 1)
        {
            refuse($" {refused.Message}");
        }
        catch (DeviceSpecException)
        {
            // One of them; alone, each says what is wrong with it.
            foreach (string text in texts) Describe([text], refuse);
        }
        return [];
    }
}
