using Vmm.Devices.Simulation;

namespace Vmm.Devices.Tests;

/// <summary>Every backend passes the same battery.</summary>
[Collection(Alone.Name)]
public sealed class BackendBatteryTests
{
    private const int Bytes = (int)BackendBattery.BytesMin;
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(30);

    public static TheoryData<string> Checks => new(BackendBattery.Checks);

    public static TheoryData<string, string> ChecksOfFiles =>
        Each("ring", "threads", "synchronous", "ring,cache=none", "synchronous,cache=none",
        "ring,cache=dontcache", "synchronous,cache=dontcache", "ring,cache=writethrough");

    /// <summary>Servers that frame replies, and cut blocks, in every way that there is.</summary>
    public static TheoryData<string, string> ChecksOfServers => Each("nbdkit", "nbdkit --no-sr", "nbdkit of 4096-byte "
        + "blocks", "nbdkit of short requests",
        "nbdkit that cannot zero or trim", "qemu-nbd");

    /// <summary>What those servers do not do.</summary>
    public static TheoryData<string, string> ChecksOfOurs => Each("extended", "extended, in pieces", "structured, in pieces", "simple",
        "without flush, FUA, trim and zeroes", "blocks of 4096, in pieces");


    [Theory, MemberData(nameof(Checks))]
    public void A_memory_disk(string check) => new BackendBattery(() => new MemoryDisk(Bytes)).Run(check);

    [Theory, MemberData(nameof(Checks))]
    public void A_null_disk(string check) => new BackendBattery(() => new NullDisk(Bytes)) { KeepsContent = false }.Run(check);

    [Theory, MemberData(nameof(ChecksOfFiles))]
    public void A_file(string options, string check)
    {
        using ScratchImage image = new(Bytes);
        DiskSpec spec = DiskSpec.Parse($"{image.Path},engine={options}");
        if (spec.Cache == DiskCache.WriteThrough && check.Contains("flush", StringComparison.Ordinal)) return;
        new BackendBattery(() => ((BlockDevice)spec.Open("vda")).Backend).Run(check);
    }

    [Theory, MemberData(nameof(ChecksOfServers))]
    public void An_NBD_server(string kind, string check)
    {
        using ScratchImage image = new(Bytes);
        using ServerProcess server = kind switch
        {
            "nbdkit" => ServerProcess.Nbdkit("memory", "1M"),
            "nbdkit --no-sr" => ServerProcess.Nbdkit("--no-sr", "memory", "1M"),
            "nbdkit of 4096-byte blocks" =>
                ServerProcess.Nbdkit("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096", "blocksize-error-policy=error"),
            "nbdkit of short requests" =>
                ServerProcess.Nbdkit("--filter=blocksize-policy", "memory", "1M", "blocksize-maximum=65536",
                    "blocksize-error-policy=error"),
            "nbdkit that cannot zero or trim" => ServerProcess.Nbdkit("--filter=nozero", "--filter=nocache", "memory", "1M"),
            _ => ServerProcess.QemuNbd(image.Path),
        };
        new BackendBattery(() => NbdDisk.Open(server.Uri, readOnly: false, Wait, connections: 2)).Run(check);
    }

    [Theory, MemberData(nameof(ChecksOfOurs))]
    public void A_server_of_ours(string kind, string check)
    {
        using NbdTestServer server = new(Bytes) { CutsReads = kind.Contains("pieces", StringComparison.Ordinal) };
        if (kind.Contains("structured", StringComparison.Ordinal)) server.Replies = NbdReplies.Structured;
        if (kind.Contains("simple", StringComparison.Ordinal)) server.Replies = NbdReplies.Simple;
        if (kind.Contains("without", StringComparison.Ordinal)) server.Flags = NbdFlags.HasFlags;
        if (kind.Contains("4096", StringComparison.Ordinal)) server.Blocks = (4096, 4096, 1 << 16);
        new BackendBattery(() => NbdDisk.Open(server.Uri, readOnly: false, Wait)).Run(check);
    }

    private static TheoryData<string, string> Each(params string[] kinds)
    {
        TheoryData<string, string> data = [];
        foreach (string kind in kinds)
        {
            foreach (string check in BackendBattery.Checks) data.Add(kind, check);
        }
        return data;
    }
}
