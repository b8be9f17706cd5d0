using System.CommandLine;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary><c>vmm state</c>: looks at the state of a machine that was saved.</summary>
internal static class StateCommand
{
    /// <summary>The file of a snapshot's directory that has what processors and devices knew.</summary>
    internal const string FileName = "state.json";

    /// <summary>How long a check is silent.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut)
    {
        Argument<string> path = new("PATH") { Description = $"A snapshot's directory, or its file '{FileName}'." };
        Option<bool> json = new("--json") { Description = "Print the JSON as it was written." };
        Command show = new("show", "Print what the processors and devices of a saved machine know, as a tree.") { path, json };
        show.SetAction(parsed => carriesOut ? Show(parsed.GetValue(path)!, parsed.GetValue(json)) : ExitCode.Success);
        Argument<string> directory = new("DIR") { Description = "A snapshot's directory." };
        Command check = new("check", "Compare all of a snapshot with its checksums.") { directory };
        check.SetAction(parsed => carriesOut ? Check(parsed.GetValue(directory)!) : ExitCode.Success);
        Argument<string> target = new("NEW") { Description = "Where the whole snapshot goes: a name that is not there yet." };
        Command merge = new("merge", "Make a whole snapshot of a difference ('vmm ctl snapshot --diff') and what it is one to, which stay.")
        { directory, target };
        merge.SetAction(parsed => carriesOut ? Merge(parsed.GetValue(directory)!, parsed.GetValue(target)!) : ExitCode.Success);
        return new Command("state", "Look at the state of a machine that was saved.") { show, check, merge };
    }

    private static int Check(string directory)
    {
        MachineSnapshot snapshot = MachineSnapshot.Open(directory);
        ProgressLine progress = new(Patience, "checking");
        snapshot.Verify(progress);
        progress.End();
        Console.Out.WriteLine(Printable.Of($"{directory}: as it was saved: {snapshot.Vcpus} vCPUs, {snapshot.MemoryBytes >> 20} MiB, "
            + snapshot.SavedAt.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture)
            + (snapshot.Base is { } to ? $", a difference to '{to.Directory}'" : "")));
        return ExitCode.Success;
    }

    private static int Merge(string directory, string target)
    {
        using CancellationTokenSource cancel = new();
        using Signals signals = new Signals().On(_ => cancel.Cancel(), Signals.Ending);
        ProgressLine progress = new(Patience, "merging");
        long written = MachineSnapshot.Open(directory).Merge(target, progress, cancel.Token);
        progress.End();
        Console.Out.WriteLine(Printable.Of($"{target}: {written >> 20} MiB"));
        return ExitCode.Success;
    }

    private static int Show(string path, bool asJson)
    {
        byte[] state = Read(Directory.Exists(path) ? Path.Combine(path, FileName) : path);
        if (asJson)
        {
            // Nothing but JSON goes to a terminal: the file may come from an enemy.
            using Stream output = Console.OpenStandardOutput();
            StateTree.WriteJson(path, state, output);
        }
        else
        {
            using StreamWriter output = new(Console.OpenStandardOutput());
            StateTree.Write(path, state, output);
        }
        return ExitCode.Success;
    }

    private static byte[] Read(string file)
    {
        using FileStream stream = File.OpenRead(file);
        if (stream.Length > StateTree.BytesMax)
            throw new IOException($"'{file}' has {stream.Length} bytes: no state of a machine has more than {StateTree.BytesMax}");
        byte[] bytes = new byte[stream.Length];
        stream.ReadExactly(bytes);
        return bytes;
    }
}
