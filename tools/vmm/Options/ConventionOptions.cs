using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>
/// The options of QEMU's conventions for back-end programs (its docs/interop/vhost-user.rst): what a manager of machines, such as libvirt,
/// gives to a program that a file below <c>/usr/share/qemu/vhost-user</c> names. They stand for one <c>--blk</c>.
/// </summary>
internal sealed class ConventionOptions
{
    /// <summary>What QEMU's docs/interop/vhost-user.json calls the kind and its features.</summary>
    private const string Capabilities = """
        {
          "type": "block",
          "features": ["blk-file", "read-only"]
        }
        """;

    private readonly Option<string?> _socketPath = new("--socket-path")
    {
        HelpName = "S",
        Description = "QEMU's convention: as --blk socket=S.",
    };

    private readonly Option<string?> _fd = new("--fd")
    {
        HelpName = "N",
        Description = "QEMU's convention: as --blk fd=N.",
    };

    private readonly Option<string?> _file = new("--blk-file")
    {
        HelpName = "FILE",
        Description = "QEMU's convention: as --blk path=FILE.",
    };

    private readonly Option<bool> _readOnly = new("--read-only") { Description = "QEMU's convention: as --blk ro." };
    private readonly Option<bool> _capabilities = new("--print-capabilities")
    {
        Description = "QEMU's convention: print in JSON what this program can be given by those four, and end.",
    };

    internal void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_socketPath, _fd, _file, _readOnly, _capabilities]) command.Options.Add(option);
    }

    /// <summary>Whether the capabilities are asked for, whatever else is.</summary>
    internal bool AskCapabilities(ParseResult parsed) => parsed.GetValue(_capabilities);

    internal static void PrintCapabilities() => Console.WriteLine(Capabilities);

    /// <summary>The disk that they describe; null if none of them is given.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="number">The disk's number among those that are served.</param>
    /// <param name="refuse">Gets a sentence for each thing that is wrong.</param>
    internal RequestedDevice? DiskIn(ParseResult parsed, int number, Action<string> refuse)
    {
        string? socket = parsed.GetValue(_socketPath), fd = parsed.GetValue(_fd), file = parsed.GetValue(_file);
        bool isReadOnly = parsed.GetValue(_readOnly);
        if (socket is null && fd is null && file is null && !isReadOnly) return null;
        if (file is null) refuse("--blk-file is missing: name the image of the disk");
        if (socket is null == fd is null) refuse("--socket-path and --fd: give one of them, where the front-end connects");
        if (file is null || socket is null == fd is null) return null;
        List<KeyValuePair<string, string?>> parts = [KeyValuePair.Create("path", (string?)file)];
        parts.Add(socket is not null ? KeyValuePair.Create("socket", (string?)socket) : KeyValuePair.Create("fd", fd));
        if (isReadOnly) parts.Add(KeyValuePair.Create("ro", (string?)null));
        DeviceKind disks = DeviceKinds.All.Single(kind => kind.ServedName == "blk");
        return new DeviceOption(disks, isServed: true).Serve(disks.Join(parts), number, sentence => refuse($"--blk-file{sentence}"));
    }
}
