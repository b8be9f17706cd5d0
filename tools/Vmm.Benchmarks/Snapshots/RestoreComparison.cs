using System.Diagnostics;

namespace Vmm.Benchmarks;

/// <summary>How long it takes from <c>vmm boot --restore</c> to a guest's next instruction, for a small machine and a large one.</summary>
internal static class RestoreComparison
{
    internal static Comparison Comparison { get; } = new(SuiteName, "snapshot-restore",
        "from the start of 'vmm boot --restore' until the guest has printed a byte that it had not when it was saved; all of the saved "
        + "memory is data; the baseline has 64 MiB (n = 1)",
        [1],
        [
            OfMemory("64 MiB", 64), OfMemory("4 GiB", 4096),
        ])
    { SliceFactor = 8 };

    internal const string SuiteName = "snapshot";

    /// <summary>What the guest prints after the restore: its memory is changed in between.</summary>
    private const byte Changed = (byte)'R';

    // Outside: to warm it up would save and fill it again and again.
    private static Variant OfMemory(string name, int memoryMiB) =>
        new(name, _ => new ProcessContender(directory => Restore(directory, memoryMiB), ProcessMark.Output, Changed)) { IsOutside = true };

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
        memory.Position = TinyKernel.Letter;
        memory.WriteByte(Changed);
    }
}
