using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vmm.Devices.Native;
using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>What the operator reads of a connection: who came, what its driver took, when it left.</summary>
internal sealed class SessionReports(
    VhostUserBackend backend, UnixSocket socket, IReactor reactor, SharedMemory memory, FrontEndFeatures features, InflightKeeper inflight)
{
    /// <summary>How long after a ring's kick a front-end may take to share memory, which comes before rings usually.</summary>
    private static readonly TimeSpan MemoryPatience = TimeSpan.FromSeconds(10);

    /// <summary>Of a process's name (proc(5), comm).</summary>
    private const int NameBytesMax = 16;

    private readonly long _since = Environment.TickCount64;
    private ReactorTimer? _memoryWatch;

    private bool IsAnnounced => backend.Options.Logger.IsEnabled(LogLevel.Information);

    /// <summary>Describes the connection. On the reactor.</summary>
    internal void Inspect(InspectNode node)
    {
        node.Add("process", socket.PeerProcessId());
        node.Add("seconds", (Environment.TickCount64 - _since) / 1000);
        node.Add("regions", memory.Guest.Regions.Count);
        node.Add("memory-bytes", (long)memory.Guest.Regions.Aggregate(0UL, (sum, region) => sum + region.Length));
        node.Add("in-flight-log", inflight.Region is not null);
    }

    internal void AnnounceFrontEnd()
    {
        if (!IsAnnounced) return;
        int process = socket.PeerProcessId();
        backend.Announce(DeviceEvents.FrontEndConnected, process > 0
            ? $"a front-end is connected: process {process}{NameOf(process)}"
            : "a front-end is connected: a process that is not visible from here");
    }

    /// <summary>The first ring of a driver runs.</summary>
    internal void AnnounceDriver(Vring ring)
    {
        if (!IsAnnounced) return;
        (ushort available, ushort used) = (ring.AvailBase, inflight.Region is null ? ring.AvailBase : ring.UsedBase ?? ring.AvailBase);
        int retaken = !features.IsPacked ? (ushort)(available - used)
            : (new PackedPosition(available).Index - new PackedPosition(used).Index + ring.Size) % ring.Size;
        string goesOn = retaken == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $", goes on with {retaken} requests in flight");
        backend.Announce(DeviceEvents.DriverStarted,
            $"a driver runs{goesOn}: {(features.IsPacked ? "packed" : "split")} rings of {ring.Size} entries; "
            + string.Join(", ", FeatureNames.Of(backend.Device.Type, features.OfDriver)));
    }

    /// <summary>
    /// A ring has its kick: says after a while, if there is no memory, what QEMU does not. Its guest waits in its probe without a word.
    /// </summary>
    internal void WatchForMemory()
    {
        if (!IsAnnounced || memory.Guest.Regions.Count > 0) return;
        _memoryWatch ??= ReactorTimers.Of(reactor).Create((_, _) =>
        {
            if (memory.Guest.Regions.Count > 0) return;
            backend.Announce(default, $"the driver has been ready for {MemoryPatience.TotalSeconds} s, and the front-end has shared "
                + "no memory: does the guest's memory have share=on?");
        }, $"{backend.Device.Name}/memory");
        _memoryWatch.Arm(MemoryPatience);
    }

    internal void AnnounceEnd(bool isClean)
    {
        if (_memoryWatch is { IsArmed: true } watch) watch.Cancel();
        if (IsAnnounced && isClean)
            backend.Announce(DeviceEvents.FrontEndLeft, $"the front-end left after {(Environment.TickCount64 - _since) / 1000} s");
    }

    private static string NameOf(int process)
    {
        try
        {
            using SafeFileHandle file = File.OpenHandle($"/proc/{process}/comm");
            Span<byte> name = stackalloc byte[NameBytesMax];
            name = name[..RandomAccess.Read(file, name, fileOffset: 0)];
            // A process names itself: nothing of it goes to a terminal raw.
            foreach (ref byte letter in name) if (letter is <= (byte)' ' or >= 0x7f) letter = (byte)' ';
            return $" ({Encoding.ASCII.GetString(name).Trim()})";
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException)
        {
            // It is gone, or /proc does not show it.
            return "";
        }
    }
}
