using System.Diagnostics;

namespace Vmm.Benchmarks;

/// <summary>How long it takes from <c>vmm boot --restore</c> to a guest's next instruction, for a small machine and a large one.</summary>
internal sealed class RestoreComparison : Comparison
{
    internal override string Suite => "snapshot";

    internal override string Group => "snapshot-restore";

    internal override string Description =>
        "from the start of 'vmm boot --restore' until the guest's next instruction has printed a byte; all of the saved memory is data; "
        + "the baseline has 64 MiB (n = 1)";

    internal override IReadOnlyList<int> Sizes => [1];

    internal override int SliceFactor => 8;

    internal override IReadOnlyList<Variant> Variants { get; } =
    [
        new("64 MiB", _ => new ProcessContender(directory => Restore(directory, 64), ProcessMark.Output)),
        new("4 GiB", _ => new ProcessContender(directory => Restore(directory, 4096), ProcessMark.Output)),
    ];

    private static string[] Restore(string directory, int memoryMiB)
    {
        string kernel = Path.Combine(directory, "kernel"), api = Path.Combine(directory, "api"), saved = Path.Combine(directory, "saved");
        TinyKernel.Write(kernel, TinyKernel.PrintForEver);
        ProcessStartInfo boot = new(PublishedTool.Path,
            ["boot", PublishedTool.NoSandbox, "--kernel", kernel, "--memory", $"{memoryMiB}", "--api", api])
        { RedirectStandardOutput = true, RedirectStandardInput = true };
        using (Process vmm = Process.Start(boot)!)
        {
            if (vmm.StandardOutput.BaseStream.ReadByte() < 0) throw new InvalidOperationException("the guest printed nothing");
            Task drained = vmm.StandardOutput.BaseStream.CopyToAsync(Stream.Null);
            using Process ctl = Process.Start(new ProcessStartInfo(PublishedTool.Path, ["ctl", api, "snapshot", saved, "--stop"])
            { RedirectStandardOutput = true })!;
            ctl.WaitForExit();
            vmm.WaitForExit();
            drained.Wait();
            if (ctl.ExitCode != 0) throw new InvalidOperationException("the machine was not saved");
        }
        Fill(Path.Combine(saved, "memory"));
        return [PublishedTool.Path, "boot", PublishedTool.NoSandbox, "--restore", saved];
    }

    /// <summary>Puts data where the guest has nothing, as if it had used all of its memory. A restore does not compare it.</summary>
    private static void Fill(string path)
    {
        byte[] some = new byte[2 << 20];
        new Random(1).NextBytes(some);
        using FileStream memory = new(path, FileMode.Open);
        for (long at = some.Length; at < memory.Length; at += some.Length)
        {
            memory.Position = at;
            memory.Write(some);
        }
    }
}
