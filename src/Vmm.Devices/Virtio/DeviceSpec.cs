using Vmm.Events;

namespace Vmm.Devices;

/// <summary>
/// A device as it is described: in C#, by dependency injection, or as text on the command line, with the same keys everywhere. It is read
/// when the device is opened.
/// </summary>
public abstract record DeviceSpec
{
    /// <summary>
    /// What is wrong with it, each in a sentence. Nothing is opened to find out: opening shows outside, and may disturb a device that runs.
    /// </summary>
    /// <param name="name">The device's name.</param>
    public abstract IEnumerable<string> Failures(string name);

    /// <summary>
    /// Makes what the device works on, where that is asked for and it is not there yet. <see cref="Open"/> does it too; a process that
    /// gives up rights in between does it before.
    /// </summary>
    /// <param name="announce">Gets a line for what took time or room.</param>
    /// <exception cref="IOException">It can't be made; the message says what and why.</exception>
    public virtual void Prepare(Action<string> announce)
    {
    }

    /// <summary>Opens what the device works on, and makes the device.</summary>
    /// <param name="name">For messages, measurements and, where it has one, the guest: <c>vda</c>.</param>
    /// <param name="setting">What the machine decides where the spec leaves it open; null for a machine of one vCPU.</param>
    /// <exception cref="ArgumentException">The spec does not fit what was opened, or has failures.</exception>
    /// <exception cref="IOException">Something can't be opened; the message says what and why.</exception>
    public abstract VirtioDevice Open(string name, DeviceSetting? setting = null);

    /// <summary>What of the host it opens, in <see cref="Open"/>, in <see cref="Connect"/> or later: a sandbox leaves it that.</summary>
    public virtual IEnumerable<HostAccess> HostAccesses() => [];

    /// <summary>
    /// Connects the opened device to its endpoints on the host that are not part of it: a socket, a terminal, a control socket.
    /// </summary>
    /// <param name="device">What <see cref="Open"/> gave.</param>
    /// <param name="reactor">The reactor that owns the device; it runs.</param>
    /// <param name="announce">Gets a line for each endpoint that only exists from now on, such as a terminal's path.</param>
    /// <returns>Ends the connection; dispose it before the reactor. Null if there is nothing to connect.</returns>
    /// <exception cref="IOException">An endpoint can't be opened; the message says what and why.</exception>
    public virtual IDisposable? Connect(VirtioDevice device, RemoteEndpoint reactor, Action<string> announce) => null;
}

/// <summary>What a machine decides for its devices where their specs leave it open.</summary>
public sealed record DeviceSetting
{
    /// <summary>Queues of a device that can have several: one for each vCPU, usually.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>The machine's memory in bytes, of which a balloon can't take more; null if it is not known.</summary>
    public ulong? MemoryBytes { get; init; }

    /// <summary>What moves the bytes of disks.</summary>
    public BlockEngineKind Engine { get; init; }

    /// <summary>
    /// Whether the device is served over vhost-user: front-ends ask for longer queues than our own transport offers, and keep a network's
    /// control queue and the guest's address to themselves.
    /// </summary>
    public bool OverVhostUser { get; init; }

    /// <summary>
    /// Whether the device comes to guests that run, and an operator waits for the answer: what a start would wait for is refused soon.
    /// </summary>
    internal bool IsAddedLater { get; init; }
}

/// <summary>The text that describes a device makes no sense. The message is a sentence that names what is right.</summary>
public sealed class DeviceSpecException(string message) : ArgumentException(message);
