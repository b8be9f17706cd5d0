using System.Collections.Concurrent;
using System.Text.Json;
using Microsoft.Playwright;

namespace Vmm.EndToEnd;

/// <summary>
/// The page in a real browser: Debian's Chromium, driven by Playwright. What it showed is kept below artifacts/screenshots; run with
/// VMM_ACCEPT_SCREENSHOTS=1 to put the pictures of docs/operations/live.md in their place.
/// </summary>
public sealed class BrowserTests : IAsyncLifetime
{
    private const string Chromium = "/usr/bin/chromium";
    private const float PatienceMs = 120_000;

    private readonly ScratchDirectory _scratch = new();
    private readonly ConcurrentQueue<string> _complaints = [];
    private readonly ConcurrentBag<string> _hosts = [];
    private IPlaywright _playwright = null!;
    private IBrowser _browser = null!;

    private string Api => _scratch.PathOf("api.sock");

    public async ValueTask InitializeAsync()
    {
        _playwright = await Playwright.CreateAsync();
        // Root has no sandbox of its own to give: the pages are ours.
        _browser = await _playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = Chromium,
            Timeout = PatienceMs,
            Args = Environment.IsPrivilegedProcess ? ["--no-sandbox"] : [],
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _browser.DisposeAsync();
        _playwright.Dispose();
        _scratch.Dispose();
    }

    [Fact]
    public async Task A_guest_is_typed_at_in_the_page_and_limits_pause_and_events_are_seen()
    {
        using VmmProcess vmm = new(["sh", "-c", "exec \"$0\" \"$@\" </dev/null"], ["run", "--api", Api, "--disk", "path=null:64G"]);
        vmm.WaitFor("'help' lists the commands");
        IPage page = await OpenAsync(ColorScheme.Light, 1280, 900);
        await Expect(page.Locator("#state")).ToHaveTextAsync("running");
        await Expect(page.Locator("#device-rows tr")).ToHaveCountAsync(3);

        // The console: two keys from the list of devices.
        await page.GetByRole(AriaRole.Link, new() { Name = "Consoles" }).ClickAsync();
        await Expect(page.Locator("#console-status")).ToContainTextAsync("attached to ttyS0");
        await Expect(page.Locator(".xterm-helper-textarea")).ToBeFocusedAsync();
        await page.Keyboard.TypeAsync("lsdev\n");
        await Expect(page.Locator(".xterm-rows")).ToContainTextAsync("balloon0: balloon");
        await ShootAsync(page, "console");

        // The guest writes all of its disk, which takes minutes.
        await page.Keyboard.TypeAsync("fill vda 1 512\n");

        // Tab belongs to the guest until Shift-Esc.
        await page.Keyboard.PressAsync("Shift+Escape");
        await Expect(page.Locator("#console-tabs button")).ToBeFocusedAsync();

        // A disk that is written as fast as it goes, and then 50 times a second.
        await page.GetByRole(AriaRole.Link, new() { Name = "Devices" }).ClickAsync();
        await Expect(page.Locator("#device-rows tr").First).ToContainTextAsync("vda");
        await page.WaitForFunctionAsync("() => document.querySelectorAll('#device-rows tr')[0].cells[2].textContent.includes('k')", null, Patience);
        await page.WaitForFunctionAsync(Seconds(8), null, Patience);
        await ShootAsync(page, "devices");
        await page.GetByRole(AriaRole.Link, new() { Name = "vda" }).ClickAsync();
        await Expect(page.Locator("#device-title")).ToHaveTextAsync("vda · block");
        await page.WaitForFunctionAsync("() => document.querySelector('#latency-now').textContent.includes('µs')", null, Patience);
        double before = await HighestAsync(page);
        await page.GetByLabel("Operations a second; 0 for no limit").FillAsync("50");
        await page.GetByRole(AriaRole.Button, new() { Name = "Apply" }).First.PressAsync("Enter");
        await Expect(page.Locator("#forms .answer").First).ToHaveTextAsync("Done.");
        await page.WaitForFunctionAsync("() => { const rate = parseFloat(document.querySelector('#rate-now').textContent); return rate > 0 && rate < 80; }", null, Patience);
        // The line itself drops, once the second before has moved on.
        for (int tries = 0; await HighestAsync(page) > before / 2; tries++)
        {
            Assert.True(tries < 100, $"the line of the chart stays at {before} pixels");
            await page.WaitForFunctionAsync(Seconds(1), null, Patience);
        }
        await page.EvaluateAsync("() => scrollTo(0, 0)");
        await ShootAsync(page, "disk");
        await page.GetByLabel("Operations a second; 0 for no limit").FillAsync("many");
        await page.GetByRole(AriaRole.Button, new() { Name = "Apply" }).First.PressAsync("Enter");
        await Expect(page.Locator("#forms .answer").First).ToContainTextAsync("is no number");
        await page.GetByLabel("Operations a second; 0 for no limit").FillAsync("0");
        await page.GetByRole(AriaRole.Button, new() { Name = "Apply" }).First.PressAsync("Enter");

        // Its tree, what happens, and a machine that stands still.
        await Expect(page.Locator("#device-tree")).ToContainTextAsync("features");
        await page.GetByRole(AriaRole.Link, new() { Name = "Events" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Pause" }).ClickAsync();
        await Expect(page.Locator("#state")).ToHaveTextAsync("paused");
        await Expect(page.Locator("#event-list li").First).ToContainTextAsync("machine-paused");
        await page.GetByRole(AriaRole.Button, new() { Name = "Resume" }).ClickAsync();
        await Expect(page.Locator("#event-list li").First).ToContainTextAsync("machine-resumed");
        await ShootAsync(page, "events");
        await page.GetByRole(AriaRole.Link, new() { Name = "Tree" }).ClickAsync();
        await page.Locator("#whole-tree > [data-name=devices] > summary").ClickAsync();
        await Expect(page.Locator("#whole-tree")).ToContainTextAsync("balloon0");
        await ShootAsync(page, "tree");

        await page.GetByRole(AriaRole.Link, new() { Name = "Consoles" }).ClickAsync();
        await Expect(page.Locator(".xterm-helper-textarea")).ToBeFocusedAsync();
        await page.Keyboard.PressAsync("Control+C");
        await Expect(page.Locator(".xterm-rows")).ToContainTextAsync("interrupted");
        await page.Keyboard.TypeAsync("lsdev; poweroff\n");
        await Expect(page.Locator("#state")).ToHaveTextAsync("gone");
        await Expect(page.Locator("#trouble")).ToContainTextAsync("vmm does not answer");
        await Expect(page.Locator("#console-status")).ToContainTextAsync("detached from ttyS0: the console has ended");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
        // The browser itself complains of requests that fail at the end; of nothing else.
        Assert.All(_complaints, complaint => Assert.Contains("502", complaint));
        Assert.Equal(["127.0.0.1"], _hosts.Distinct());
    }

    [Theory]
    [InlineData(ColorScheme.Dark, 360)]
    [InlineData(ColorScheme.Light, 360)]
    [InlineData(ColorScheme.Dark, 1280)]
    public async Task Every_view_is_readable_narrow_and_wide_and_nothing_moves(ColorScheme scheme, int width)
    {
        using VmmProcess vmm = new(["sh", "-c", "exec \"$0\" \"$@\" </dev/null"],
            ["run", "--api", Api, "--disk", $"path={_scratch.CreateImage("disk.img", 8 << 20)}", "--console", $"uds={_scratch.PathOf("console")}"]);
        vmm.WaitFor("'help' lists the commands");
        IPage page = await OpenAsync(scheme, width, 740);
        await page.EvaluateAsync("""
            () => {
              window.shift = 0;
              new PerformanceObserver(list => { for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value; })
                .observe({ type: "layout-shift", buffered: true });
            }
            """);
        string name = $"{(width < 800 ? "narrow" : "wide")}-{scheme.ToString().ToLowerInvariant()}";
        foreach (string view in (string[])["devices", "device/vda", "consoles/ttyS0", "events", "tree"])
        {
            await page.EvaluateAsync("view => { location.hash = `#/${view}`; }", view);
            string section = view.Split('/')[0];
            await Expect(page.Locator($"#{section}")).ToBeVisibleAsync();
            if (section == "consoles") await Expect(page.Locator(".xterm-rows")).ToContainTextAsync("guest>");
            if (section == "device") await Expect(page.Locator("#device-tree")).ToContainTextAsync("features");
            if (section == "tree") await Expect(page.Locator("#whole-tree")).ToContainTextAsync("devices");
            if (section == "devices") await Expect(page.Locator("#device-rows tr").First).ToContainTextAsync("vda");
            // Three readings: what changes then must not move anything.
            await page.WaitForFunctionAsync(Seconds(1), null, Patience);
            await page.EvaluateAsync("() => { window.shift = 0; }");
            await page.WaitForFunctionAsync(Seconds(3), null, Patience);
            double shift = await page.EvaluateAsync<double>("() => window.shift");
            Assert.True(shift == 0, $"{view} moves by {shift}");
            int wider = await page.EvaluateAsync<int>("() => document.documentElement.scrollWidth - document.documentElement.clientWidth");
            Assert.True(wider <= 0, $"{view} is {wider} pixels wider than the window");
            await ShootAsync(page, section == "consoles" ? $"console-{name}" : $"{section}-{name}");
        }
        Assert.True(_complaints.IsEmpty, string.Join('\n', _complaints));
        Assert.Equal(["127.0.0.1"], _hosts.Distinct());
    }

    [Fact]
    public async Task A_server_is_drained_in_the_page_and_a_card_and_another_medium_are_seen()
    {
        string disk = _scratch.PathOf("disk.sock"), second = _scratch.CreateImage("second.img", 4 << 20);
        using VmmProcess vmm = new("serve", "--api", Api, "--blk", $"path={_scratch.CreateImage("first.img", 8 << 20)},socket={disk}",
            "--net", $"uds={_scratch.PathOf("n")},mtu=1400,mac=02:00:00:00:00:07,socket={_scratch.PathOf("net.sock")}");
        vmm.WaitFor($"listening api {Api}");
        using VmmProcess load = new("bench", "vhost-user-blk", "--socket", disk, "--seconds", "3600", "--depth", "1");
        vmm.WaitFor("a driver runs");
        IPage page = await OpenAsync(ColorScheme.Dark, 1280, 900);
        await Expect(page.Locator("#state")).ToHaveTextAsync("running");
        foreach (string other in (string[])["Pause", "Resume", "Snapshot…", "Power off", "Reset"])
            await Expect(page.GetByRole(AriaRole.Button, new() { Name = other })).ToBeDisabledAsync();

        await page.GetByRole(AriaRole.Link, new() { Name = "net0" }).ClickAsync();
        await Expect(page.Locator("#tiles [data-name=MTU] dd")).ToHaveTextAsync("1400");
        await Expect(page.Locator("#tiles [data-name=Address] dd")).ToHaveTextAsync("02:00:00:00:00:07");
        await Expect(page.Locator("#tiles [data-name=Receives] dd")).ToHaveTextAsync("every frame");
        await ShootAsync(page, "card");
        await page.GetByRole(AriaRole.Link, new() { Name = "All devices" }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "blk0" }).ClickAsync();
        await page.GetByLabel("Path or address of another image").FillAsync(second);
        await page.GetByLabel("Path or address of another image").PressAsync("Enter");
        await Expect(page.Locator("#tiles [data-name=Capacity] dd")).ToHaveTextAsync("4\u202fMiB");

        await page.GetByRole(AriaRole.Link, new() { Name = "Events" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Drain…" }).ClickAsync();
        await page.Locator("#drain-dialog input").FillAsync("soon");
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.Locator("#drain-answer")).ToContainTextAsync("is no number");
        await ShootAsync(page, "drain");
        await page.Locator("#drain-dialog input").FillAsync("");
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.Locator("#drain-dialog")).ToBeHiddenAsync();
        await Expect(page.Locator("#state")).ToHaveTextAsync("draining");
        await Expect(page.Locator("#event-list")).ToContainTextAsync("draining");
        await Expect(page.GetByRole(AriaRole.Button, new() { Name = "Drain…" })).ToBeDisabledAsync();
        // The front-end that is connected goes on, and its end is the server's.
        using ApiClient api = new(Api);
        long done = api.Get("/v1/devices/blk0").GetProperty("requests").GetInt64();
        await page.WaitForFunctionAsync(Seconds(2), null, Patience);
        Assert.True(api.Get("/v1/devices/blk0").GetProperty("requests").GetInt64() > done);
        load.Signal("TERM");
        await Expect(page.Locator("#state")).ToHaveTextAsync("gone");
        Assert.Equal(0, vmm.WaitForExit().ExitCode);
    }

    [Fact]
    public async Task Everything_is_reached_by_keyboard_alone()
    {
        using VmmProcess vmm = new(["sh", "-c", "exec \"$0\" \"$@\" </dev/null"], ["run", "--api", Api]);
        vmm.WaitFor("'help' lists the commands");
        IPage page = await OpenAsync(ColorScheme.Light, 1000, 800);
        await Expect(page.Locator("#device-rows tr")).ToHaveCountAsync(3);
        List<string> reached = [];
        for (int i = 0; i < 9; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            reached.Add(await page.EvaluateAsync<string>("() => document.activeElement.textContent"));
            Assert.NotEqual("none", await page.EvaluateAsync<string>("() => getComputedStyle(document.activeElement).outlineStyle"));
        }
        Assert.Equal(["Skip to the content", "Pause", "Devices", "Consoles", "Events", "Tree", "vda"], reached.Take(7));
        // Into a device, to its first field, and a change by Enter.
        await page.Locator("#device-rows a").First.FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.Locator("#device-title")).ToContainTextAsync("vda");
        while (await page.EvaluateAsync<string>("() => document.activeElement.name ?? ''") != "operationsPerSecond") await page.Keyboard.PressAsync("Tab");
        await page.Keyboard.PressAsync("Control+A");
        await page.Keyboard.TypeAsync("123\n");
        await Expect(page.Locator("#forms .answer").First).ToHaveTextAsync("Done.");
        using ApiClient api = new(Api);
        Assert.Equal(123, api.Get("/v1/devices/vda").GetProperty("operationsPerSecond").GetInt64());
    }

    /// <summary>A condition of the page that holds when it has read so many times more.</summary>
    private static string Seconds(int count) =>
        $"() => new Promise(done => {{ const first = window.readings; const look = () => window.readings >= first + {count} ? done(true) : setTimeout(look, 50); look(); }})";

    private static PageWaitForFunctionOptions Patience => new() { Timeout = PatienceMs };

    private static ILocatorAssertions Expect(ILocator locator)
    {
        Assertions.SetDefaultExpectTimeout(PatienceMs);
        return Assertions.Expect(locator);
    }

    /// <summary>Opens the page as a person would: by the address that the command prints.</summary>
    private async Task<IPage> OpenAsync(ColorScheme scheme, int width, int height)
    {
        VmmProcess web = new("ctl", Api, "web");
        web.WaitFor("/?token=");
        IBrowserContext context = await _browser.NewContextAsync(new BrowserNewContextOptions
        {
            ColorScheme = scheme,
            ViewportSize = new ViewportSize { Width = width, Height = height },
            Locale = "en-GB",
        });
        context.SetDefaultTimeout(PatienceMs);
        context.Close += (_, _) => web.Dispose();
        context.WebError += (_, error) => _complaints.Enqueue($"error: {error.Error}");
        IPage page = await context.NewPageAsync();
        page.Console += (_, message) =>
        {
            // This test itself reads a chart's pixels, which Chromium finds worth a warning.
            if (message.Type is "error" or "warning" && !message.Text.StartsWith("Canvas2D", StringComparison.Ordinal)) _complaints.Enqueue($"{message.Type}: {message.Text} at {message.Location}");
        };
        page.Request += (_, request) => _hosts.Add(new Uri(request.Url).Host);
        page.WebSocket += (_, socket) => _hosts.Add(new Uri(socket.Url).Host);
        // How often the page has read what devices do.
        await page.AddInitScriptAsync("""
            window.readings = 0;
            const asked = window.fetch;
            window.fetch = (...all) => asked(...all).then(answer => { if (String(all[0]).endsWith("/v1/latency")) window.readings++; return answer; });
            """);
        await page.GotoAsync(web.Lines[0]);
        return page;
    }

    /// <summary>How high the last second of the chart of rates is drawn, in pixels from its bottom.</summary>
    private static Task<double> HighestAsync(IPage page) => page.EvaluateAsync<double>("""
        () => {
          const canvas = document.getElementById("rate"), paint = canvas.getContext("2d");
          const left = canvas.width - 8, pixels = paint.getImageData(left, 0, 8, canvas.height).data;
          const line = getComputedStyle(document.documentElement).getPropertyValue("--chart").trim();
          const wanted = [1, 3, 5].map(at => parseInt(line.slice(at, at + 2), 16));
          for (let y = 0; y < canvas.height; y++)
            for (let x = 0; x < 8; x++) {
              const at = (y * 8 + x) * 4;
              if (wanted.every((value, i) => Math.abs(pixels[at + i] - value) < 12) && pixels[at + 3] > 200) return canvas.height - y;
            }
          return 0;
        }
        """);

    private static async Task ShootAsync(IPage page, string name)
    {
        string shots = Repository.PathOf("artifacts/screenshots");
        Directory.CreateDirectory(shots);
        // Not by Playwright's own call: that puts a style into the page, which the page's policy refuses.
        ICDPSession session = await page.Context.NewCDPSessionAsync(page);
        JsonElement? shot = await session.SendAsync("Page.captureScreenshot");
        await File.WriteAllBytesAsync(Path.Combine(shots, $"{name}.png"), shot!.Value.GetProperty("data").GetBytesFromBase64());
        await session.DetachAsync();
        string kept = Repository.PathOf($"docs/operations/images/{name}.png");
        if (Environment.GetEnvironmentVariable("VMM_ACCEPT_SCREENSHOTS") == "1" && (name is "devices" or "disk" or "console-narrow-dark"))
            File.Copy(Path.Combine(shots, $"{name}.png"), kept, overwrite: true);
    }
}
