using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// What a network takes over from the sender: work that is left undone in a frame, as its virtio_net_hdr says (virtio 1.2 § 5.1.6).
/// </summary>
[Flags]
public enum NetOffloads
{
    /// <summary>Nothing: every frame is as on the wire.</summary>
    None = 0,
    /// <summary>TCP and UDP checksums.</summary>
    Checksum = 1,
    /// <summary>Cutting TCP over IPv4 into segments.</summary>
    Tso4 = 2,
    /// <summary>Cutting TCP over IPv6 into segments.</summary>
    Tso6 = 4,
    /// <summary>Cutting TCP with congestion notification.</summary>
    Ecn = 8,
    /// <summary>Fragmenting UDP.</summary>
    Ufo = 16,
    /// <summary>Cutting UDP over IPv4 into datagrams.</summary>
    Uso4 = 32,
    /// <summary>Cutting UDP over IPv6 into datagrams.</summary>
    Uso6 = 64,
}

/// <summary>
/// The network a <see cref="NetDevice"/> is connected to. Thread-safe, but for its sources and sinks: those are used on the reactor that
/// was given.
/// </summary>
public interface INetBackend : IDisposable
{
    /// <summary>For messages: <c>tap 'vm0'</c>.</summary>
    string Description { get; }

    /// <summary>Most queue pairs: each has a source and a sink of its own.</summary>
    int QueuePairs { get; }

    /// <summary>What it takes over, and what it can be asked to hand to the guest.</summary>
    NetOffloads Offloads { get; }

    /// <summary>Whether its frames begin with a virtio_net_hdr. Otherwise the device adds and drops it.</summary>
    bool CarriesHeader { get; }

    /// <summary>A driver is ready, or changed its mind.</summary>
    /// <param name="headerLength">Bytes of the virtio_net_hdr: 10 or 12.</param>
    /// <param name="toGuest">What may be left undone in frames for the guest.</param>
    Errno Configure(int headerLength, NetOffloads toGuest);

    /// <summary>Whether a pair takes part: the network spreads its frames over those that do.</summary>
    void SetActive(int pair, bool active);

    /// <summary>Has the network see the cable plugged in or pulled out.</summary>
    void SetLink(bool up);

    /// <summary>The frames for the guest of one queue pair. At most one at a time.</summary>
    /// <param name="pair">From 0.</param>
    /// <param name="reactor">What watches its descriptors; call on its thread.</param>
    /// <param name="onReady">Called there when there may be frames again, after a receive said <see cref="Errno.Again"/>.</param>
    INetSource CreateSource(int pair, IReactor reactor, Action onReady);

    /// <summary>Where the frames of the guest of one queue pair go. At most one at a time.</summary>
    /// <param name="pair">From 0.</param>
    /// <param name="reactor">What watches its descriptors; call on its thread.</param>
    /// <param name="onReady">Called there when there may be room again, after a send said <see cref="Errno.Again"/>.</param>
    INetSink CreateSink(int pair, IReactor reactor, Action onReady);
}

/// <summary>Frames from the network. Used on one reactor's thread.</summary>
public interface INetSource : IDisposable
{
    /// <summary>False from a receive that found nothing until the next call of its owner.</summary>
    bool IsReady { get; }

    /// <summary>Takes the next frame, as far as the vectors have room; the rest of it is gone.</summary>
    /// <param name="vectors">At least one byte.</param>
    /// <param name="length">Bytes written to the vectors.</param>
    /// <returns><see cref="Errno.Again"/> if there is none.</returns>
    Errno Receive(ReadOnlySpan<IoVector> vectors, out int length);
}

/// <summary>Frames to the network. Used on one reactor's thread.</summary>
public interface INetSink : IDisposable
{
    /// <summary>Sends a frame: all of it, or nothing.</summary>
    /// <returns>
    /// <see cref="Errno.Again"/> if there is no room; its owner is called when there may be. <see cref="Errno.Invalid"/> if the frame makes
    /// no sense: its sender's fault. <see cref="Errno.BrokenPipe"/> if the other end is not connected: the frame goes nowhere, as on a
    /// cable.
    /// </returns>
    Errno Send(ReadOnlySpan<IoVector> vectors);
}

/// <summary>What an operator asked of a network can't be had. The message is a sentence that says what to do.</summary>
public sealed class NetworkException(string message) : IOException(message);
