using System.Diagnostics;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>Has another <c>vmm</c> save its machine, which goes on, and starts machines that go on from there beside it.</summary>
internal static class Forking
{
    internal const int CountMax = 64;

    /// <summary>Has a shell connect a program's streams: its output goes to the file that is the shell's name.</summary>
    private const string Detached = "exec setsid \"$@\" </dev/null >\"$0\" 2>&1";

    private static readonly TimeSpan BetweenLooks = TimeSpan.FromMilliseconds(5);

    private sealed record Clone(string Directory, Process Process)
    {
        internal string Api => Path.Combine(Directory, "api.sock");

        internal string Console => Path.Combine(Directory, "console.log");
    }

    /// <param name="client">The machine.</param>
    /// <param name="given">Where the snapshot and the clones' files go; it is not there yet.</param>
    /// <param name="count">How many clones.</param>
    /// <exception cref="IOException">It was refused, or a clone does not start; then no clone is left.</exception>
    internal static void Run(CtlClient client, string given, int count)
    {
        string directory = Path.TrimEndingDirectorySeparator(Path.GetFullPath(given)), snapshot = Path.Combine(directory, "snapshot");
        if (Path.Exists(directory))
            throw new IOException($"cannot fork to '{given}': it is there already; give a name that is not, or remove it");
        RestoreView how = client.Get("/v1/machine", ApiJson.Readable.MachineView).Restore
            ?? throw new IOException("only a machine of 'vmm boot' can be forked");
        const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(directory, Owner);
        List<Clone> clones = [];
        try
        {
            SnapshotView saved = Saving.Run(client, new NewSnapshot { Directory = snapshot, Disks = true });
            if (!Directory.Exists(snapshot))
                throw new IOException($"the machine is on another host, where it was saved to '{snapshot}', and clones are started on this "
                    + "one: run 'fork' where the machine is");
            IReadOnlyCollection<string> names = MachineSnapshot.Open(snapshot).DeviceNames;
            for (int number = 1; number <= count; number++)
            {
                string own = Path.Combine(directory, number.ToString(CultureInfo.InvariantCulture));
                Directory.CreateDirectory(own, Owner);
                clones.Add(Start(how, new CloneOptions(number, own, snapshot, names)));
            }
            foreach (Clone clone in clones) WaitFor(clone);
            Saving.Print(saved);
            foreach (Clone clone in clones)
            {
                Console.Out.WriteLine(Printable.Of(
                    $"{clone.Directory}: process {clone.Process.Id}, API at {clone.Api}, console in {clone.Console}"));
            }
        }
        catch
        {
            foreach (Clone clone in clones)
            {
                clone.Process.Kill();
                clone.Process.WaitForExit();
            }
            // What a clone has printed says more than this command can.
            if (clones.Count == 0) Directory.Delete(directory);
            throw;
        }
    }

    private static Clone Start(RestoreView how, CloneOptions options)
    {
        string[] self = Path.GetFileName(Environment.ProcessPath) == "dotnet"
            ? [Environment.ProcessPath!, Path.GetFullPath(Environment.GetCommandLineArgs()[0])] : [Environment.ProcessPath!];
        Clone clone = new(options.Directory, new Process());
        clone.Process.StartInfo = new ProcessStartInfo("/bin/sh",
            [
                "-c", Detached, clone.Console, .. self, "boot", $"--restore={options.Snapshot}", $"--api={clone.Api}",
                .. options.Of(how.Options),
            ])
        { WorkingDirectory = how.Directory };
        clone.Process.Start();
        return clone;
    }

    /// <summary>Waits until a clone answers, which it does when its devices are there and it runs.</summary>
    private static void WaitFor(Clone clone)
    {
        while (!File.Exists(clone.Api) || !Answers(clone))
        {
            if (clone.Process.WaitForExit(BetweenLooks))
                throw new IOException($"clone '{clone.Directory}' did not start: {LastLine(clone.Console)}");
        }
    }

    private static bool Answers(Clone clone)
    {
        try
        {
            using CtlClient client = new(clone.Api, CtlKeys.None);
            client.Get("/v1/machine", ApiJson.Readable.MachineView);
            return true;
        }
        catch (IOException)
        {
            // It listens in a moment, or ends.
            return false;
        }
    }

    private static string LastLine(string path) =>
        (File.Exists(path) ? File.ReadLines(path).LastOrDefault(line => line.Trim().Length > 0) : null) ?? "it printed nothing";
}
